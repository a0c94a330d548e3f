"""What runs: each pod as PodSecurity `restricted` wants it, its arguments, volumes and what keeps several of them apart."""

import unittest

from helm import PLAIN, POSTGRES, TLS, container, find, kinds, merge, pods, template

EVERYTHING = merge(
    POSTGRES,
    {
        "commonLabels": {"team": "identity", "app.kubernetes.io/name": "other"},
        "imagePullSecrets": [{"name": "registry"}],
        "tls": {"clientCa": {"existingSecret": "callers", "key": "callers.crt"}},
        "database": {"passwordKey": "password"},
        "dataplane": {
            "adminToken": {"existingSecret": "admin"},
            "env": [{"name": "VESTIBULE_LOG", "value": "debug"}],
            "extraArgs": ["--more"],
            "extraVolumes": [{"name": "more", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
            "priorityClassName": "high",
            "podLabels": {"mesh": "on"},
            "podAnnotations": {"note": "x"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "autoscaling": {"enabled": True, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}},
        },
        "operator": {"extraVolumes": [{"name": "more", "emptyDir": {}}], "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}]},
    },
)
MATRIX = {
    "plain": PLAIN,
    "tls": TLS,
    "volatile": merge(PLAIN, {"persistence": {"enabled": False}}),
    "postgres": POSTGRES,
    "cert-manager": {"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "ca"}}}},
    "everything": EVERYTHING,
}


class Pods(unittest.TestCase):
    def test_each_pod_meets_pod_security_restricted_and_cannot_write_to_its_image(self):
        for name, values in MATRIX.items():
            for pod, _, spec in pods(template(values)):
                with self.subTest(values=name, pod=pod):
                    security = spec["securityContext"]
                    self.assertTrue(security["runAsNonRoot"])
                    self.assertEqual(security["runAsUser"], 65532)
                    self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
                    for forbidden in ["hostNetwork", "hostPID", "hostIPC"]:
                        self.assertNotIn(forbidden, spec)
                    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
                    for volume in spec.get("volumes", []):
                        self.assertLessEqual(set(volume) - {"name"}, allowed)
                    for each in spec["containers"]:
                        own = each["securityContext"]
                        self.assertIs(own["allowPrivilegeEscalation"], False)
                        self.assertIs(own["readOnlyRootFilesystem"], True)
                        self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
                        self.assertNotIn("privileged", own)
                        self.assertFalse([port for port in each.get("ports", []) if "hostPort" in port])

    def test_each_container_says_what_it_needs_and_which_image_it_is(self):
        for name, values in MATRIX.items():
            for pod, _, spec in pods(template(values)):
                with self.subTest(values=name, pod=pod):
                    self.assertIs(spec["enableServiceLinks"], False)
                    for each in spec["containers"]:
                        self.assertRegex(each["image"], r"^[^@:]+(:[0-9]+/[^@:]+)?:[^@:]+$")
                        self.assertNotIn(":latest", each["image"])
                        self.assertIn("memory", each["resources"]["limits"])
                        self.assertIn("cpu", each["resources"]["requests"])

    def test_each_mount_has_its_volume_and_each_volume_its_mount(self):
        for name, values in MATRIX.items():
            for pod, _, spec in pods(template(values)):
                with self.subTest(values=name, pod=pod):
                    volumes = [volume["name"] for volume in spec.get("volumes", [])]
                    mounts = [mount["name"] for mount in spec["containers"][0].get("volumeMounts", [])]
                    self.assertEqual(sorted(volumes), sorted(mounts))

    def test_each_object_has_the_release_in_its_labels_and_its_namespace(self):
        for name, values in MATRIX.items():
            objects = template(values)
            self.assertEqual(len(kinds(objects)), len(set(kinds(objects))), name)
            for o in objects:
                labels = o["metadata"]["labels"]
                with self.subTest(values=name, object=o["metadata"]["name"]):
                    self.assertEqual(labels["app.kubernetes.io/name"], "vestibule")
                    self.assertEqual(labels["app.kubernetes.io/instance"], "vestibule")
                    self.assertIn(labels["app.kubernetes.io/component"], ["dataplane", "operator", "test", "crds"])
                    if o["kind"] != "CustomResourceDefinition":
                        self.assertEqual(o["metadata"]["namespace"], "auth")
                    if name == "everything":
                        self.assertEqual(labels["team"], "identity")

    def test_an_image_is_named_by_tag_and_by_digest(self):
        digest = "sha256:" + "0" * 64
        cases = [
            ({}, "localhost/vestibule:0.1.0"),
            ({"repository": "registry:5000/a/vestibule", "tag": "dev"}, "registry:5000/a/vestibule:dev"),
            ({"digest": digest}, f"localhost/vestibule:0.1.0@{digest}"),
        ]
        for image, expected in cases:
            objects = template(merge(TLS, {"image": image}))
            for deployment in ["vestibule-dataplane", "vestibule-operator"]:
                self.assertEqual(container(objects, deployment)["image"], expected)

    def test_pull_policy_and_pull_secrets_reach_both(self):
        objects = template(merge(TLS, {"image": {"pullPolicy": "Never"}, "imagePullSecrets": [{"name": "registry"}]}))
        for deployment in ["vestibule-dataplane", "vestibule-operator"]:
            self.assertEqual(container(objects, deployment)["imagePullPolicy"], "Never")
            spec = find(objects, "Deployment", deployment)["spec"]["template"]["spec"]
            self.assertEqual(spec["imagePullSecrets"], [{"name": "registry"}])


class Dataplane(unittest.TestCase):
    def test_serves_tls_on_8443_and_plain_http_on_8080_behind_the_release_s_name(self):
        for values, container_port, port, name in [(TLS, 8443, 443, "https"), (PLAIN, 8080, 80, "http")]:
            objects = template(values)
            only = container(objects, "vestibule-dataplane")
            self.assertIn(f"--listen=0.0.0.0:{container_port}", only["args"])
            ports = {p["name"]: p["containerPort"] for p in only["ports"]}
            self.assertEqual(ports, {"public": container_port, "admin": 8081})
            service = find(objects, "Service", "vestibule")["spec"]
            (only_port,) = service["ports"]
            self.assertEqual((only_port["port"], only_port["targetPort"], only_port["name"]), (port, "public", name))
            labels = find(objects, "Deployment", "vestibule-dataplane")["spec"]["template"]["metadata"]["labels"]
            self.assertLessEqual(service["selector"].items(), labels.items())
            self.assertEqual(service["selector"]["app.kubernetes.io/component"], "dataplane")
            self.assertEqual("--plain-http" in only["args"], values is PLAIN)
            self.assertEqual("--tls-cert=/etc/vestibule/tls/tls.crt" in only["args"], values is TLS)

    def test_sqlite_has_one_pod_at_a_time_and_a_claim_that_outlives_the_release(self):
        objects = template(TLS)
        deployment = find(objects, "Deployment", "vestibule-dataplane")["spec"]
        self.assertEqual((deployment["replicas"], deployment["strategy"]), (1, {"type": "Recreate"}))
        claim = find(objects, "PersistentVolumeClaim")
        self.assertEqual(claim["metadata"]["annotations"], {"helm.sh/resource-policy": "keep"})
        self.assertNotIn("storageClassName", claim["spec"])
        volume = deployment["template"]["spec"]["volumes"][0]
        self.assertEqual(volume["persistentVolumeClaim"], {"claimName": claim["metadata"]["name"]})
        self.assertEqual([variable["name"] for variable in container(objects, "vestibule-dataplane")["env"]], ["POD_NAME"])

    def test_the_volume_is_as_it_is_asked_for(self):
        def volume(persistence):
            objects = template(merge(TLS, {"persistence": persistence}))
            claims = [o for o in objects if o["kind"] == "PersistentVolumeClaim"]
            return find(objects, "Deployment", "vestibule-dataplane")["spec"]["template"]["spec"]["volumes"][0], claims

        self.assertEqual(volume({"enabled": False}), ({"name": "data", "emptyDir": {}}, []))
        mine, claims = volume({"existingClaim": "mine"})
        self.assertEqual((mine["persistentVolumeClaim"], claims), ({"claimName": "mine"}, []))
        _, (claim,) = volume({"storageClass": "-", "size": "5Gi", "keep": False})
        self.assertEqual(claim["spec"]["storageClassName"], "")
        self.assertEqual(claim["spec"]["resources"], {"requests": {"storage": "5Gi"}})
        self.assertNotIn("annotations", claim["metadata"])

    def test_postgresql_rolls_without_a_gap_and_has_no_claim(self):
        objects = template(merge(POSTGRES, {"database": {"passwordKey": "password"}}))
        deployment = find(objects, "Deployment", "vestibule-dataplane")["spec"]
        self.assertEqual(deployment["replicas"], 3)
        self.assertEqual(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0)
        self.assertNotIn("PersistentVolumeClaim", [o["kind"] for o in objects])
        only = container(objects, "vestibule-dataplane")
        (variable,) = [variable for variable in only["env"] if variable["name"] != "POD_NAME"]
        self.assertEqual(variable["name"], "VESTIBULE_DATABASE")
        self.assertEqual(variable["valueFrom"], {"secretKeyRef": {"name": "db", "key": "url"}})
        self.assertIn("--database-password-file=/etc/vestibule/database/password", only["args"])
        without = container(template(POSTGRES), "vestibule-dataplane")["args"]
        self.assertFalse([a for a in without if a.startswith("--database")])

    def test_the_snapshot_is_mounted_from_sixteen_optional_secrets(self):
        spec = find(template(TLS), "Deployment", "vestibule-dataplane")["spec"]["template"]["spec"]
        (sources,) = [v["projected"]["sources"] for v in spec["volumes"] if v["name"] == "snapshot"]
        self.assertEqual(len(sources), 16)
        self.assertTrue(all(source["secret"]["optional"] is True for source in sources))
        paths = [(s["secret"]["name"], [i["path"] for i in s["secret"]["items"]]) for s in sources]
        self.assertEqual(paths[0], ("vestibule-snapshot", ["head.json", "part-0"]))
        self.assertEqual(paths[1], ("vestibule-snapshot-1", ["part-1"]))
        self.assertEqual(paths[15], ("vestibule-snapshot-15", ["part-15"]))

    def test_what_was_served_last_is_kept_in_memory_only(self):
        spec = find(template(TLS), "Deployment", "vestibule-dataplane")["spec"]["template"]["spec"]
        (last_good,) = [v for v in spec["volumes"] if v["name"] == "last-good"]
        self.assertEqual(last_good["emptyDir"]["medium"], "Memory")

    def test_the_other_secrets_become_files_and_flags(self):
        args = container(template(EVERYTHING), "vestibule-dataplane")["args"]
        self.assertIn("--tls-client-ca=/etc/vestibule/client-ca/callers.crt", args)
        self.assertIn("--admin-token-file=/etc/vestibule/admin/token", args)
        self.assertEqual(args[-1], "--more")

    def test_http_issuers_are_let_in_by_both_or_by_neither(self):
        for allowed in [False, True]:
            objects = template(merge(PLAIN, {"dataplane": {"allowHttpIssuers": allowed}}))
            for deployment in ["vestibule-dataplane", "vestibule-operator"]:
                self.assertEqual("--allow-http-issuers" in container(objects, deployment)["args"], allowed)

    def test_it_has_time_to_drain(self):
        spec = find(template(TLS), "Deployment", "vestibule-dataplane")["spec"]["template"]["spec"]
        sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        # 25 s is what `vestibule serve` gives the requests under way.
        self.assertGreater(spec["terminationGracePeriodSeconds"], sleep + 25)

    def test_what_scales_by_itself_is_not_given_a_number(self):
        objects = template(EVERYTHING)
        self.assertNotIn("replicas", find(objects, "Deployment", "vestibule-dataplane")["spec"])
        scaler = find(objects, "HorizontalPodAutoscaler")["spec"]
        self.assertEqual(scaler["scaleTargetRef"]["name"], "vestibule-dataplane")
        self.assertNotIn("HorizontalPodAutoscaler", [o["kind"] for o in template(POSTGRES)])

    def test_disruptions_are_limited_where_there_are_several_pods(self):
        budgets = [name for name in kinds(template(TLS)) if name.startswith("PodDisruptionBudget/")]
        self.assertEqual(budgets, ["PodDisruptionBudget/vestibule-operator"])
        budgets = [name for name in kinds(template(POSTGRES)) if name.startswith("PodDisruptionBudget/")]
        self.assertEqual(sorted(budgets), ["PodDisruptionBudget/vestibule-dataplane", "PodDisruptionBudget/vestibule-operator"])

    def test_pods_are_spread_unless_somebody_says_how(self):
        def spread(constraints):
            objects = template(merge(POSTGRES, {"dataplane": {"topologySpreadConstraints": constraints}}))
            return find(objects, "Deployment", "vestibule-dataplane")["spec"]["template"]["spec"].get("topologySpreadConstraints")

        keys = [each["topologyKey"] for each in spread(None)]
        self.assertEqual(keys, ["topology.kubernetes.io/zone", "kubernetes.io/hostname"])
        self.assertIsNone(spread([]))
        own = [{"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}]
        self.assertEqual(spread(own), own)

    def test_probes_ask_the_admin_port(self):
        objects = template(TLS)
        for deployment, port in [("vestibule-dataplane", "admin"), ("vestibule-operator", "metrics")]:
            only = container(objects, deployment)
            for probe, path in [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]:
                self.assertEqual(only[probe]["httpGet"], {"path": path, "port": port})
            self.assertIn(port, [p["name"] for p in only["ports"]])


class Operator(unittest.TestCase):
    def args(self, values):
        return container(template(values), "vestibule-operator")["args"]

    def test_two_of_them_run_and_look_at_this_release_s_pods_only(self):
        objects = template(TLS)
        self.assertEqual(find(objects, "Deployment", "vestibule-operator")["spec"]["replicas"], 2)
        args = container(objects, "vestibule-operator")["args"]
        self.assertEqual(args[0], "run")
        (selector,) = [a.split("=", 1)[1] for a in args if a.startswith("--dataplane-selector=")]
        wanted = dict(part.split("=") for part in selector.split(","))
        labels = find(objects, "Deployment", "vestibule-dataplane")["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(wanted.items(), labels.items())
        self.assertEqual(wanted["app.kubernetes.io/instance"], "vestibule")

    def test_each_pod_of_the_data_plane_knows_its_name_for_its_proofs(self):
        only = container(template(TLS), "vestibule-dataplane")
        self.assertIn({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, only["env"])

    def test_what_tenants_may_do_is_told_to_the_operator(self):
        default = self.args(TLS)
        for argument in ["--object-bytes-max=131072", "--namespace-bytes-max=1048576", "--namespace-objects-max=1000"]:
            self.assertIn(argument, default)
        self.assertFalse([argument for argument in default if "egress" in argument or "issuer-namespaces" in argument])
        issuers = [{"issuer": "https://auth.example.com/*", "namespaces": ["auth", "shop"]}, {"issuer": "https://b.example", "namespaces": ["bank"]}]
        given = self.args(merge(TLS, {"tenants": {"clusterEgress": ["auth", "shop"], "issuers": issuers, "share": {"namespaceBytes": 2097152}}}))
        self.assertIn("--cluster-egress-namespaces=auth,shop", given)
        self.assertIn("--issuer-namespaces=https://auth.example.com/*=auth,shop", given)
        self.assertIn("--issuer-namespaces=https://b.example=bank", given)
        self.assertIn("--namespace-bytes-max=2097152", given)

    def test_it_watches_what_it_is_told_and_its_own_namespace_otherwise(self):
        self.assertIn("--watch-namespaces=auth", self.args(TLS))
        self.assertIn("--watch-namespaces=auth,shop", self.args(merge(TLS, {"watchNamespaces": ["auth", "shop"]})))
        self.assertIn("--watch-namespaces=*", self.args(merge(TLS, {"watchNamespaces": ["*"]})))
