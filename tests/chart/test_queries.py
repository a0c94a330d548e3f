"""The dashboard and the alert rules, each query held against what running programs expose."""

import functools
import json
import re
import unittest

import yaml

from exposition import codes, read
from helm import CHART, NAMESPACE, TLS, find, kinds, merge, template
from queries import Wrong, check, selectors
from running import dataplane_metrics, operator_metrics

DASHBOARD = json.loads((CHART / "files" / "dashboards" / "vestibule.json").read_text())
RULES = {"metrics": {"rules": {"enabled": True}}}
DASHBOARDS = {"metrics": {"dashboards": {"enabled": True}}}


@functools.cache
def offered():
    return read(operator_metrics(), dataplane_metrics())


def rules(values=None):
    groups = find(template(merge(TLS, RULES, values or {})), "PrometheusRule")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def matched(selector):
    return {matcher.name: matcher.value for matcher in selector.matchers.matchers}


class Dashboard(unittest.TestCase):
    def test_each_query_finds_what_the_programs_expose(self):
        for panel in panels():
            for target in panel["targets"]:
                with self.subTest(panel=panel["title"], query=target["expr"]):
                    found = check(target["expr"], offered())
                    # Lines that differ in a label which the legend leaves out could not be told apart.
                    self.assertEqual(set(re.findall(r"{{(\w+)}}", target["legendFormat"])), found)

    def test_each_query_looks_at_the_chosen_namespace(self):
        for panel in panels():
            for target in panel["targets"]:
                for selector in selectors(target["expr"]):
                    self.assertEqual(matched(selector)["namespace"], "$namespace", target["expr"])

    def test_its_variables_are_those_that_it_uses(self):
        text = json.dumps(DASHBOARD)
        variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval"}
        self.assertEqual(used, set(variables))
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["namespace"]["query"]["query"]).groups()
        self.assertIn(label, offered()[metric].labels)
        for panel in panels():
            for one in [panel, *panel["targets"]]:
                self.assertEqual(one["datasource"]["uid"], "${datasource}")

    def test_its_panels_have_ids_of_their_own_and_do_not_overlap(self):
        self.assertEqual(len({panel["id"] for panel in DASHBOARD["panels"]}), len(DASHBOARD["panels"]))
        taken = set()
        for panel in DASHBOARD["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertEqual(cells & taken, set(), panel["title"])
            taken |= cells

    def test_it_is_a_config_map_that_grafana_finds_when_it_is_asked_for(self):
        self.assertNotIn("ConfigMap/vestibule-dashboards", kinds(template(TLS)))
        found = find(template(merge(TLS, DASHBOARDS)), "ConfigMap")
        self.assertEqual((found["metadata"]["name"], found["metadata"]["namespace"]), ("vestibule-dashboards", NAMESPACE))
        self.assertEqual(found["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertEqual(json.loads(found["data"]["vestibule.json"]), DASHBOARD)
        elsewhere = {"namespace": "monitoring", "labels": {"team": "shop"}, "annotations": {"grafana_folder": "Sign-in"}}
        moved = find(template(merge(TLS, DASHBOARDS, {"metrics": {"dashboards": elsewhere}})), "ConfigMap")["metadata"]
        self.assertEqual((moved["namespace"], moved["annotations"], moved["labels"]["team"]), ("monitoring", {"grafana_folder": "Sign-in"}, "shop"))


class Rules(unittest.TestCase):
    def test_the_chart_s_readme_has_each_as_it_is(self):
        rows = re.findall(r"^\| (Vestibule\w+) \| (\w+) \| (\d+) (min|h) \|", (CHART / "README.md").read_text(), re.MULTILINE)
        written = {(name, severity, number + unit[0]) for name, severity, number, unit in rows}
        self.assertEqual(written, {(rule["alert"], rule["labels"]["severity"], rule["for"]) for rule in rules()})

    def test_each_query_finds_what_the_programs_expose(self):
        for rule in rules():
            with self.subTest(alert=rule["alert"]):
                found = check(rule["expr"], offered())
                self.assertIn("namespace", found)
                named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
                self.assertLessEqual(named, found)

    def test_each_fires_on_a_condition_and_not_on_a_figure(self):
        for rule in rules():
            self.assertRegex(rule["expr"], r"absent\(| (<|>|==) [\d.]+$", rule["alert"])

    def test_each_looks_at_the_release_s_namespace_alone(self):
        for rule in rules():
            for selector in selectors(rule["expr"]):
                self.assertEqual(matched(selector)["namespace"], NAMESPACE, rule["alert"])

    def test_each_says_how_bad_it_is_what_it_is_and_where_to_look(self):
        for rule in rules():
            self.assertEqual(set(rule), {"alert", "expr", "for", "labels", "annotations"})
            self.assertRegex(rule["for"], r"^[1-9][0-9]*[mh]$")
            self.assertIn(rule["labels"]["severity"], {"critical", "warning"})
            summary, description = rule["annotations"]["summary"], rule["annotations"]["description"]
            self.assertLess(len(summary), 120, rule["alert"])
            self.assertGreater(len(description), len(summary), rule["alert"])
            self.assertTrue(description.endswith("."), description)
        names = [rule["alert"] for rule in rules()]
        self.assertEqual(len(set(names)), len(names))

    def test_what_they_say_names_metrics_that_are_there(self):
        for rule in rules():
            for name in re.findall(r"\bvestibule_\w+", json.dumps(rule["annotations"])):
                self.assertIn(name, offered(), rule["alert"])

    def test_faults_are_the_codes_that_are_answered_with_5xx(self):
        faults = {code for code, status in codes().items() if status and status >= 500}
        self.assertIn("internal", faults)
        (rule,) = [rule for rule in rules() if rule["alert"] == "VestibuleFaults"]
        (counted,) = {matched(s)["outcome"] for s in selectors(rule["expr"]) if "outcome" in matched(s)}
        self.assertEqual(set(counted.split("|")), faults)
        on_dashboard = {matched(s).get("outcome", "") for p in panels() for t in p["targets"] for s in selectors(t["expr"])}
        for outcomes in on_dashboard:
            if "internal" in outcomes:
                self.assertEqual(set(outcomes.split("|")) - {"ok"}, faults)

    def test_thresholds_are_values(self):
        values = yaml.safe_load((CHART / "values.yaml").read_text())["metrics"]["rules"]["thresholds"]
        thresholds = {name: 2.5 if name != "storeQueued" else 25 for name in values}
        other = {rule["alert"]: rule["expr"] for rule in rules({"metrics": {"rules": {"thresholds": thresholds}}})}
        changed = {rule["alert"]: other[rule["alert"]] for rule in rules() if other[rule["alert"]] != rule["expr"]}
        self.assertEqual(set(changed), {"VestibuleFaults", "VestibuleSlow", "VestibuleStoreQueue", "VestibuleSigningKeyOld"})
        for expression in changed.values():
            self.assertRegex(expression, r"> 25?(\.5)?$")
            check(expression, offered())

    def test_they_are_there_when_they_are_asked_for_with_the_labels_that_prometheus_selects_by(self):
        self.assertFalse([name for name in kinds(template(TLS)) if name.startswith("PrometheusRule")])
        labelled = find(template(merge(TLS, RULES, {"metrics": {"rules": {"labels": {"release": "p"}}}})), "PrometheusRule")
        self.assertEqual(labelled["metadata"]["labels"]["release"], "p")


SMALL = """# HELP shop_orders Orders by outcome: ok, late or an error code.
# TYPE shop_orders counter
shop_orders_total{outcome="ok"} 1
# HELP shop_seconds Time.
# TYPE shop_seconds histogram
shop_seconds_bucket{till="1",le="1.0"} 1
shop_seconds_bucket{till="1",le="+Inf"} 1
shop_seconds_sum{till="1"} 1
shop_seconds_count{till="1"} 1
# HELP shop_open Open shops.
# TYPE shop_open gauge
shop_open 1
# EOF
"""


class Checker(unittest.TestCase):
    def test_it_lets_in_what_finds_something_and_tells_its_labels(self):
        for expression, labels in [
            ("sum by (outcome) (rate(shop_orders_total[$__rate_interval]))", {"outcome"}),
            ('rate(shop_orders_total{outcome=~"late|internal"}[5m])', {"outcome", "namespace", "pod", "job", "instance"}),
            ('(sum(rate(shop_orders_total{outcome!="ok"}[5m])) or vector(0)) / sum(rate(shop_orders_total[5m]))', set()),
            ("histogram_quantile(0.99, sum by (till, le) (rate(shop_seconds_bucket[5m])))", {"till"}),
            ('sum(rate(shop_seconds_bucket{le="1.0"}[5m])) / sum(rate(shop_seconds_count[5m]))', set()),
            ('absent(shop_open{namespace="a"})', {"namespace"}),
            ("min by (pod) (min_over_time(shop_open[5m])) > 3", {"pod"}),
            ("max_over_time((time() * (sum by (pod) (increase(shop_orders_total[5m])) > bool 0))[6h:1m])", {"pod"}),
            ("sum by (pod, job) (rate(shop_orders_total[5m])) / on (pod) sum by (pod) (shop_open)", {"pod"}),
            ("sum without (outcome) (rate(shop_orders_total[5m])) / ignoring (job) shop_open", {"namespace", "pod", "instance"}),
        ]:
            with self.subTest(expression=expression):
                self.assertEqual(check(expression, read(SMALL)), labels)

    def test_it_refuses_each_mistake_by_its_name(self):
        for expression, reason in [
            ("sum(rate(shop_orders_total[5m])", "not PromQL"),
            ("rate(shop_orders[5m])", "there is no series shop_orders"),
            ('shop_open{till="1"}', "shop_open has no label till"),
            ('rate(shop_orders_total{outcome="lost"}[5m])', "outcome of shop_orders_total is never lost"),
            ('rate(shop_orders_total{outcome=~"ok|lost"}[5m])', "outcome of shop_orders_total is never lost"),
            ("shop_orders_total", "is a counter, used as a gauge"),
            ("rate(shop_open[5m])", "shop_open is a gauge, used as a bucket or counter"),
            ("max_over_time(shop_orders_total[5m])", "is a counter, used as a gauge"),
            ("rate(sum(shop_open)[5m:1m])", "no counter any more"),
            ("sum by (till) (rate(shop_orders_total[5m]))", "sum by till, which is no label there"),
            ("sum by (till) (rate(shop_seconds_bucket[5m]))", "each of which counts those below it again"),
            ("histogram_quantile(0.9, sum by (till) (rate(shop_seconds_count[5m])))", "no label le"),
            ("histogram_quantile(0.9, rate(shop_seconds_bucket[5m]))", "not summed"),
            ("rate(shop_orders_total[5m]) / rate(shop_seconds_count[5m])", "never match"),
            ("sum(rate(shop_orders_total[5m])) / on (pod) sum by (pod) (shop_open)", "which both sides must have"),
            ("quantile_over_time(0.9, shop_open[5m])", "not known to this check"),
        ]:
            with self.subTest(expression=expression), self.assertRaisesRegex(Wrong, reason):
                check(expression, read(SMALL))


if __name__ == "__main__":
    unittest.main()
