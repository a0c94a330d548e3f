"""What may be written into values, and what is refused with a sentence that says what to change."""

import copy
import json
import re
import unittest

import yaml

from helm import CHART, PLAIN, POSTGRES, TLS, Refused, merge, run, template

MONITORED = {"networkPolicy": {"metricsFrom": [{"namespaceSelector": {}}]}}
CERT_MANAGER = {"tls": {"certManager": {"enabled": True, "issuerRef": {"name": "ca"}}}}


class Values(unittest.TestCase):
    def refused(self, values, *parts):
        with self.assertRaises(Refused, msg=values) as raised:
            template(values)
        for part in parts:
            self.assertIn(part, str(raised.exception))

    def test_the_chart_is_without_fault_for_helm_lint(self):
        for values in [PLAIN, TLS, POSTGRES, CERT_MANAGER]:
            run("lint", str(CHART), "--strict", "--quiet", values=values)

    def test_nothing_chosen_for_tls_is_refused_once_with_what_to_choose(self):
        self.refused({}, "tls.existingSecret", "tls.certManager.enabled", "dataplane.plainHttp")

    def test_each_choice_for_tls_is_enough_and_two_are_refused(self):
        for values in [PLAIN, TLS, CERT_MANAGER]:
            template(values)
        self.refused(merge(PLAIN, TLS), "tls.existingSecret and dataplane.plainHttp")
        self.refused(merge(TLS, CERT_MANAGER), "tls.existingSecret and tls.certManager.enabled")

    def test_a_certificate_wants_its_issuer(self):
        self.refused({"tls": {"certManager": {"enabled": True}}}, "tls.certManager.issuerRef.name")

    def test_client_certificates_want_tls(self):
        client_ca = {"tls": {"clientCa": {"existingSecret": "ca"}}}
        template(merge(TLS, client_ca))
        self.refused(merge(PLAIN, client_ca), "tls.clientCa.existingSecret")

    def test_several_replicas_want_postgresql(self):
        template(POSTGRES)
        template(merge(PLAIN, {"dataplane": {"replicas": 0}}))
        several = merge(PLAIN, {"dataplane": {"replicas": 2}})
        self.refused(several, "dataplane.replicas is 2", "SQLite is one file of one process", "database.existingSecret")

    def test_autoscaling_wants_postgresql_and_bounds_in_order(self):
        scaled = {"dataplane": {"autoscaling": {"enabled": True}}}
        template(merge(POSTGRES, scaled))
        self.refused(merge(TLS, scaled), "dataplane.autoscaling", "database.existingSecret")
        wrong = {"dataplane": {"autoscaling": {"minReplicas": 20}}}
        self.refused(merge(POSTGRES, scaled, wrong), "minReplicas is 20", "10")

    def test_all_namespaces_and_some_are_refused(self):
        template(merge(TLS, {"watchNamespaces": ["*"]}))
        self.refused(merge(TLS, {"watchNamespaces": ["*", "shop"]}), "watchNamespaces")
        self.refused(merge(TLS, {"tenants": {"clusterEgress": ["*", "shop"]}}), "tenants.clusterEgress")

    def test_what_is_exposed_wants_names_and_gateways(self):
        self.refused(merge(TLS, {"ingress": {"enabled": True}}), "ingress.hosts")
        self.refused(merge(TLS, {"httpRoute": {"enabled": True}}), "httpRoute.parentRefs")
        backend = {"httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}], "backendTls": {"enabled": True}}}
        self.refused(merge(TLS, backend), "httpRoute.backendTls.caConfigMap")
        named = merge(backend, {"httpRoute": {"backendTls": {"caConfigMap": "ca"}}})
        template(merge(TLS, named))
        self.refused(merge(PLAIN, named), "httpRoute.backendTls")

    def test_monitors_want_to_be_let_in_and_only_one_of_them(self):
        for monitor in ["serviceMonitor", "podMonitor"]:
            enabled = {"metrics": {monitor: {"enabled": True}}}
            template(merge(TLS, MONITORED, enabled))
            template(merge(TLS, {"networkPolicy": {"enabled": False}}, enabled))
            self.refused(merge(TLS, enabled), "networkPolicy.metricsFrom")
        both = {"metrics": {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}}
        self.refused(merge(TLS, MONITORED, both), "metrics.serviceMonitor and metrics.podMonitor")

    def test_each_value_that_nobody_knows_is_refused_by_its_name(self):
        for path in ["replicas", "image.tags", "dataplane.replica", "operator.plainHttp", "tls.certManager.issuer", "database.url"]:
            *parents, last = path.split(".")
            values = {last: 1}
            for parent in reversed(parents):
                values = {parent: values}
            self.refused(merge(TLS, values), last)

    def test_each_value_of_a_wrong_kind_is_refused(self):
        for values in [
            {"image": {"tag": 1.0}},
            {"image": {"pullPolicy": "Sometimes"}},
            {"image": {"digest": "sha256:abc"}},
            {"image": {"repository": ""}},
            {"dataplane": {"replicas": "3"}},
            {"dataplane": {"replicas": -1}},
            {"dataplane": {"logFormat": "xml"}},
            {"operator": {"replicas": 100}},
            {"watchNamespaces": "auth"},
            {"watchNamespaces": ["Auth"]},
            {"watchNamespaces": ["auth", "auth"]},
            {"persistence": {"size": "large"}},
            {"persistence": {"accessModes": []}},
            {"database": {"existingSecret": "Not A Name"}},
            {"networkPolicy": {"egress": {"providers": {"ports": [70000]}}}},
            {"metrics": {"podMonitor": {"interval": "often"}}},
            {"metrics": {"dashboards": {"namespace": "Monitoring"}}},
            {"metrics": {"dashboards": {"labels": {"grafana_dashboard": 1}}}},
            {"metrics": {"rules": {"thresholds": {"faultsPercent": 101}}}},
            {"metrics": {"rules": {"thresholds": {"latencyP99Seconds": 5}}}},
            {"metrics": {"rules": {"thresholds": {"storeQueued": "many"}}}},
        ]:
            with self.subTest(values=values):
                self.refused(merge(TLS, values), "values don't meet the specifications")

    def test_every_value_has_a_schema_and_every_schema_a_value(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        schema = json.loads((CHART / "values.schema.json").read_text())
        self.assertEqual(leaves(values, schema), [])
        known = copy.deepcopy(schema["properties"])
        del known["global"]
        self.assertEqual(list(known), list(values))

    def test_every_value_that_is_written_about_is_there(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        texts = [path.read_text() for path in [CHART / "README.md", CHART / "values.yaml", CHART / "templates/_checks.tpl", CHART / "templates/NOTES.txt"]]
        named = {name for text in texts for name in re.findall(r"\b[a-z][A-Za-z]*(?:\.[a-z][A-Za-z]*)+\b", text)}
        named = {name for name in named if name.split(".")[0] in values and not name.endswith((".yaml", ".crt", ".key"))}
        self.assertGreater(len(named), 20)
        for name in named:
            found = values
            for part in name.split("."):
                self.assertIn(part, found, name)
                found = found[part]

    def test_the_notes_tell_three_commands_and_what_does_not_last(self):
        cases = [
            (PLAIN, ["WITHOUT TLS", "on claim vestibule-dataplane", "http://vestibule.auth.svc"], ["VOLATILE"]),
            (merge(TLS, {"persistence": {"enabled": False}}), ["VOLATILE", "https://vestibule.auth.svc"], ["WITHOUT TLS"]),
            (POSTGRES, ["PostgreSQL of Secret db"], ["VOLATILE", "SQLite"]),
            (merge(TLS, {"crds": {"keep": False}}), ["deletes the CRDs"], []),
            (merge(TLS, {"watchNamespaces": ["shop"]}), ["--namespace shop"], ["--namespace auth"]),
        ]
        for values, present, absent in cases:
            arguments = ["install", "vestibule", str(CHART), "--namespace", "auth", "--dry-run=client"]
            notes = run(*arguments, values=values).split("NOTES:")[1]
            for text in ["kubectl apply", "kubectl get oidcp,sip", "/auth/id-token/signin", *present]:
                self.assertIn(text, notes)
            for text in absent:
                self.assertNotIn(text, notes)


def leaves(values, schema, path=""):
    """Where values and schema do not name the same; what a schema leaves open is not looked into."""
    wrong = []
    if "properties" not in schema:
        return wrong
    if schema.get("additionalProperties") is not False:
        wrong.append(f"{path} lets unknown names in")
    for name in set(values) ^ (set(schema["properties"]) - {"global"}):
        wrong.append(f"{path}.{name}")
    for name in set(values) & set(schema["properties"]):
        if isinstance(values[name], dict):
            wrong += leaves(values[name], schema["properties"][name], f"{path}.{name}")
    return wrong
