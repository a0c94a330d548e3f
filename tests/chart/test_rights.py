"""What each component may do: as little as it can, and nothing cluster-wide unless that is asked for."""

import unittest

from helm import TLS, find, kinds, merge, template


def rules(role):
    """Every right as (group, resource, name or *, verb)."""
    rights = set()
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", ["*"]):
                    rights |= {(group, resource, name, verb) for verb in rule["verbs"]}
    return rights


class Rights(unittest.TestCase):
    def test_the_data_plane_may_read_its_snapshot_and_nothing_else(self):
        role = find(template(TLS), "Role", "vestibule-dataplane")
        names = ["vestibule-snapshot"] + [f"vestibule-snapshot-{n}" for n in range(1, 16)]
        expected = {("", "secrets", name, verb) for name in names for verb in ["get", "list", "watch"]}
        self.assertEqual(rules(role), expected)

    def test_each_binding_binds_its_role_to_its_component(self):
        objects = template(merge(TLS, {"watchNamespaces": ["auth", "shop"]}))
        accounts = [o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"]
        roles = [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in objects if o["kind"] == "Role"]
        bindings = [o for o in objects if o["kind"] == "RoleBinding"]
        self.assertEqual(len(bindings), len(roles))
        for binding in bindings:
            self.assertIn((binding["metadata"]["namespace"], binding["roleRef"]["name"]), roles)
            (subject,) = binding["subjects"]
            self.assertEqual(subject["namespace"], "auth")
            self.assertIn(subject["name"], accounts)

    def test_the_pods_run_as_accounts_that_are_there(self):
        objects = template(TLS)
        accounts = [o["metadata"]["name"] for o in objects if o["kind"] == "ServiceAccount"]
        for component in ["dataplane", "operator"]:
            spec = find(objects, "Deployment", f"vestibule-{component}")["spec"]["template"]["spec"]
            self.assertEqual(spec["serviceAccountName"], f"vestibule-{component}")
            self.assertIn(spec["serviceAccountName"], accounts)
            self.assertIs(spec["automountServiceAccountToken"], True)
        self.assertFalse([o for o in objects if o["kind"] == "ServiceAccount" and o["automountServiceAccountToken"]])

    def test_nothing_is_cluster_wide_by_default(self):
        cluster = [name for name in kinds(template(TLS)) if name.startswith("Cluster")]
        self.assertEqual(cluster, [])

    def test_each_watched_namespace_has_a_role_and_no_other(self):
        objects = template(merge(TLS, {"watchNamespaces": ["shop", "bank"]}))
        watched = [o["metadata"]["namespace"] for o in objects if o["kind"] == "Role" and o["metadata"]["name"].endswith("-of-auth")]
        self.assertEqual(sorted(watched), ["bank", "shop"])
        self.assertEqual([name for name in kinds(objects) if name.startswith("Cluster")], [])

    def test_all_namespaces_are_one_cluster_role_with_the_same_rights(self):
        one = find(template(TLS), "Role", "vestibule-operator-of-auth")
        objects = template(merge(TLS, {"watchNamespaces": ["*"]}))
        everywhere = find(objects, "ClusterRole", "vestibule-operator-of-auth")
        self.assertEqual(rules(one), rules(everywhere))
        self.assertEqual(find(objects, "ClusterRoleBinding")["roleRef"]["kind"], "ClusterRole")
        self.assertNotIn("Role/vestibule-operator-of-auth", kinds(objects))

    def test_the_operator_writes_status_and_never_what_people_wrote(self):
        rights = rules(find(template(TLS), "Role", "vestibule-operator-of-auth"))
        writes = {right for right in rights if right[3] not in ("get", "list", "watch")}
        self.assertEqual(
            writes,
            {("vestibule.dev", f"{kind}/status", "*", "patch") for kind in ["oidcproviders", "signinpolicies"]}
            | {("events.k8s.io", "events", "*", verb) for verb in ["create", "patch"]},
        )

    def test_the_operator_leads_by_its_own_lease(self):
        objects = template(TLS)
        leases = {right for right in rules(find(objects, "Role", "vestibule-operator")) if right[1] == "leases"}
        (lease,) = {name for _, _, name, _ in leases} - {"*"}
        args = find(objects, "Deployment", "vestibule-operator")["spec"]["template"]["spec"]["containers"][0]["args"]
        self.assertIn(f"--lease={lease}", args)
        self.assertEqual({verb for _, _, name, verb in leases if name == "*"}, {"create"})

    def test_no_right_is_everything(self):
        for values in [TLS, merge(TLS, {"watchNamespaces": ["*"]})]:
            for o in template(values):
                if o["kind"] in ("Role", "ClusterRole"):
                    for group, resource, _, verb in rules(o):
                        self.assertNotIn("*", (group, resource, verb))
                        self.assertNotIn(verb, ("escalate", "bind", "impersonate", "deletecollection"))
