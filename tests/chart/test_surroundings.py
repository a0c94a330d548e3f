"""What stands around the pods: CRDs, networks, certificates, routes, metrics and the test of `helm test`."""

import subprocess
import unittest

import yaml

from helm import CHART, PLAIN, POSTGRES, ROOT, TLS, find, kinds, merge, template

SCRAPER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


class Definitions(unittest.TestCase):
    def definitions(self, values):
        return [o for o in template(values) if o["kind"] == "CustomResourceDefinition"]

    def test_they_are_the_generated_ones(self):
        rendered = self.definitions(TLS)
        self.assertEqual(len(rendered), 2)
        for definition in rendered:
            name = definition["metadata"]["name"]
            generated = yaml.safe_load((ROOT / "crds" / f"{name}.yaml").read_text())
            self.assertEqual(definition["spec"], generated["spec"], name)

    def test_they_stay_on_uninstall_unless_somebody_says_otherwise(self):
        for definition in self.definitions(TLS):
            self.assertEqual(definition["metadata"]["annotations"], {"helm.sh/resource-policy": "keep"})
        for definition in self.definitions(merge(TLS, {"crds": {"keep": False}})):
            self.assertNotIn("annotations", definition["metadata"])

    def test_they_can_be_left_to_somebody_else(self):
        self.assertEqual(self.definitions(merge(TLS, {"crds": {"enabled": False}})), [])

    def test_helm_s_own_folder_is_not_used_since_it_never_upgrades(self):
        self.assertFalse((CHART / "crds").exists())


class Network(unittest.TestCase):
    def policies(self, values):
        objects = template(values)
        return [find(objects, "NetworkPolicy", f"vestibule-{component}")["spec"] for component in ["dataplane", "operator"]]

    def test_pods_reach_the_public_port_and_only_the_operator_the_admin_port(self):
        dataplane, operator = self.policies(TLS)
        self.assertEqual(dataplane["policyTypes"], ["Ingress"])
        public, admin = dataplane["ingress"]
        self.assertEqual(public["ports"], [{"protocol": "TCP", "port": "public"}])
        self.assertIn({"namespaceSelector": {}}, public["from"])
        self.assertEqual(admin["ports"], [{"protocol": "TCP", "port": "admin"}])
        (only,) = admin["from"]
        self.assertEqual(only["podSelector"]["matchLabels"]["app.kubernetes.io/component"], "operator")
        self.assertEqual(operator["ingress"], [])

    def test_callers_can_be_chosen_and_be_everybody(self):
        shop = {"namespaceSelector": {"matchLabels": {"team": "shop"}}}
        dataplane, _ = self.policies(merge(TLS, {"networkPolicy": {"callers": [shop]}, "helmTest": {"enabled": False}}))
        self.assertEqual(dataplane["ingress"][0]["from"], [shop])
        dataplane, _ = self.policies(merge(TLS, {"networkPolicy": {"callers": []}}))
        self.assertNotIn("from", dataplane["ingress"][0])

    def test_scrapers_are_let_in_by_name(self):
        dataplane, operator = self.policies(merge(TLS, {"networkPolicy": {"metricsFrom": [SCRAPER]}}))
        self.assertIn(SCRAPER, dataplane["ingress"][1]["from"])
        self.assertEqual(operator["ingress"][0]["from"], [SCRAPER])

    def test_ways_out_are_restricted_when_asked_for(self):
        egress = {"networkPolicy": {"egress": {"enabled": True}}}
        dataplane, operator = self.policies(merge(TLS, egress))
        ports = [[port["port"] for port in rule["ports"]] for rule in dataplane["egress"]]
        self.assertEqual(ports, [[53, 53], [443, 6443], [443]])
        ports = [[port["port"] for port in rule["ports"]] for rule in operator["egress"]]
        self.assertEqual(ports, [[53, 53], [443, 6443], ["admin"]])
        dataplane, _ = self.policies(merge(POSTGRES, egress))
        self.assertEqual(dataplane["egress"][3]["ports"], [{"protocol": "TCP", "port": 5432}])
        self.assertIn("Egress", dataplane["policyTypes"])

    def test_ways_out_can_be_named(self):
        idp = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "idp"}}}
        named = {"networkPolicy": {"egress": {"enabled": True, "providers": {"to": [idp], "ports": []}}}}
        dataplane, _ = self.policies(merge(TLS, named))
        self.assertEqual(dataplane["egress"][2], {"to": [idp]})
        anywhere = {"networkPolicy": {"egress": {"enabled": True, "providers": {"to": [], "ports": []}}}}
        dataplane, _ = self.policies(merge(TLS, anywhere))
        self.assertEqual(dataplane["egress"][2], {})

    def test_they_can_be_left_out(self):
        names = kinds(template(merge(TLS, {"networkPolicy": {"enabled": False}})))
        self.assertFalse([name for name in names if name.startswith("NetworkPolicy")])


class Exposure(unittest.TestCase):
    def test_a_certificate_has_the_service_s_names_and_lands_in_the_mounted_secret(self):
        manager = {"enabled": True, "issuerRef": {"name": "ca", "kind": "ClusterIssuer"}, "extraDnsNames": ["auth.example.com"]}
        objects = template({"tls": {"certManager": manager}})
        certificate = find(objects, "Certificate")["spec"]
        self.assertIn("vestibule.auth.svc", certificate["dnsNames"])
        self.assertIn("auth.example.com", certificate["dnsNames"])
        self.assertEqual(certificate["issuerRef"], {"name": "ca", "kind": "ClusterIssuer", "group": "cert-manager.io"})
        volumes = find(objects, "Deployment", "vestibule-dataplane")["spec"]["template"]["spec"]["volumes"]
        (tls,) = [v["secret"]["secretName"] for v in volumes if v["name"] == "tls"]
        self.assertEqual(certificate["secretName"], tls)
        self.assertNotIn("Certificate", [o["kind"] for o in template(TLS)])

    def test_an_ingress_leads_to_the_service(self):
        exposed = {"ingress": {"enabled": True, "className": "nginx", "hosts": ["auth.example.com"], "tls": [{"secretName": "t"}]}}
        for values, port in [(TLS, "https"), (PLAIN, "http")]:
            ingress = find(template(merge(values, exposed)), "Ingress")["spec"]
            (rule,) = ingress["rules"]
            (path,) = rule["http"]["paths"]
            self.assertEqual(path["backend"]["service"], {"name": "vestibule", "port": {"name": port}})
            self.assertEqual((rule["host"], ingress["ingressClassName"]), ("auth.example.com", "nginx"))

    def test_a_route_leads_to_the_service_and_its_gateway_verifies_it(self):
        route = {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["auth.example.com"]}}
        found = find(template(merge(PLAIN, route)), "HTTPRoute")["spec"]
        self.assertEqual(found["rules"], [{"backendRefs": [{"name": "vestibule", "port": 80}]}])
        verified = {"httpRoute": {"backendTls": {"enabled": True, "caConfigMap": "ca"}}}
        policy = find(template(merge(TLS, route, verified)), "BackendTLSPolicy")["spec"]
        self.assertEqual(policy["validation"]["hostname"], "vestibule.auth.svc")
        self.assertEqual(policy["targetRefs"][0]["name"], "vestibule")

    def test_the_service_can_be_a_load_balancer(self):
        service = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "annotations": {"a": "b"}, "loadBalancerSourceRanges": ["192.0.2.0/24"]}
        found = find(template(merge(TLS, {"dataplane": {"service": service}})), "Service", "vestibule")
        self.assertEqual(found["metadata"]["annotations"], {"a": "b"})
        self.assertEqual((found["spec"]["type"], found["spec"]["externalTrafficPolicy"]), ("LoadBalancer", "Local"))


class Metrics(unittest.TestCase):
    def monitored(self, monitor):
        return template(merge(TLS, {"networkPolicy": {"metricsFrom": [SCRAPER]}, "metrics": {monitor: {"enabled": True, "labels": {"release": "p"}}}}))

    def test_a_service_monitor_finds_the_metrics_of_both_and_not_the_public_service(self):
        objects = self.monitored("serviceMonitor")
        services = [o for o in objects if o["kind"] == "Service"]
        for component, target in [("dataplane", "admin"), ("operator", "metrics")]:
            wanted = find(objects, "ServiceMonitor", f"vestibule-{component}")["spec"]["selector"]["matchLabels"]
            (service,) = [s for s in services if wanted.items() <= s["metadata"]["labels"].items()]
            self.assertEqual(service["spec"]["ports"][0]["targetPort"], target)
            self.assertEqual(service["spec"]["clusterIP"], "None")

    def test_a_pod_monitor_finds_the_pods_of_both_without_services(self):
        objects = self.monitored("podMonitor")
        self.assertEqual([o["metadata"]["name"] for o in objects if o["kind"] == "Service"], ["vestibule"])
        for component, port in [("dataplane", "admin"), ("operator", "metrics")]:
            monitor = find(objects, "PodMonitor", f"vestibule-{component}")
            self.assertEqual(monitor["metadata"]["labels"]["release"], "p")
            self.assertEqual(monitor["spec"]["podMetricsEndpoints"][0]["port"], port)
            labels = find(objects, "Deployment", f"vestibule-{component}")["spec"]["template"]["metadata"]["labels"]
            self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), labels.items())

    def test_neither_is_there_by_default(self):
        self.assertFalse([name for name in kinds(template(TLS)) if "Monitor" in name or "-metrics" in name])


class HelmTest(unittest.TestCase):
    def test_its_script_is_the_file_and_one_that_a_shell_reads(self):
        (only,) = find(template(TLS), "Pod")["spec"]["containers"]
        script = only["args"][0]
        self.assertEqual(script.strip(), (CHART / "files" / "signin-test.sh").read_text().strip())
        subprocess.run(["sh", "-n"], input=script, text=True, check=True)

    def test_all_of_it_is_there_for_the_test_alone(self):
        objects = [o for o in template(TLS) if o["metadata"]["name"] == "vestibule-test"]
        self.assertEqual(sorted(o["kind"] for o in objects), ["Pod", "Role", "RoleBinding", "ServiceAccount"])
        for o in objects:
            self.assertEqual(o["metadata"]["annotations"]["helm.sh/hook"], "test")

    def test_it_may_make_its_own_provider_and_policy_where_they_are_watched(self):
        for watched, namespace in [([], "auth"), (["shop", "auth"], "shop"), (["*"], "auth")]:
            objects = template(merge(TLS, {"watchNamespaces": watched}))
            role = find(objects, "Role", "vestibule-test")
            self.assertEqual(role["metadata"]["namespace"], namespace)
            (rule,) = role["rules"]
            self.assertEqual(rule["resourceNames"], ["vestibule-test"])
            variables = {v["name"]: v["value"] for v in find(objects, "Pod")["spec"]["containers"][0]["env"]}
            self.assertEqual(variables["NAMESPACE"], namespace)
            self.assertEqual(variables["SUBJECT"], "system:serviceaccount:auth:vestibule-test")

    def test_its_id_token_is_for_it_alone_and_no_token_of_the_api_server(self):
        pod = find(template(TLS), "Pod")
        (token,) = [v for v in pod["spec"]["volumes"] if v["name"] == "token"]
        self.assertEqual(token["projected"]["sources"][0]["serviceAccountToken"]["audience"], "vestibule-test")

    def test_it_sees_the_ca_and_not_the_private_key(self):
        pod = find(template(TLS), "Pod")
        (tls,) = [v for v in pod["spec"]["volumes"] if v["name"] == "tls"]
        self.assertEqual(tls["projected"]["sources"][0]["secret"]["items"], [{"key": "ca.crt", "path": "ca.crt"}])

    def test_it_can_be_left_out_and_is_where_callers_need_certificates(self):
        for values in [{"helmTest": {"enabled": False}}, {"tls": {"clientCa": {"existingSecret": "ca"}}}]:
            self.assertNotIn("vestibule-test", [o["metadata"]["name"] for o in template(merge(TLS, values))])
