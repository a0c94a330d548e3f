"""The scripts of this folder: each kind of fault is found, and its right twin is not."""

import tempfile
import unittest
from pathlib import Path

import check
import reference

# Removed when the process ends.
FOLDERS = []


def document(text, name="page.md"):
    FOLDERS.append(tempfile.TemporaryDirectory(dir=check.ROOT / "target"))
    folder = Path(FOLDERS[-1].name)
    (folder / "other.md").write_text("# Other page\n")
    page = folder / name
    page.write_text(text)
    return check.Document(page)


class Links(unittest.TestCase):
    def setUp(self):
        check.faults.clear()

    def faults_of(self, text):
        document(text).check_links({})
        return list(check.faults)

    def test_a_link_to_a_file_and_a_heading_is_right(self):
        self.assertEqual(self.faults_of("# One `two` three\n\n[a](other.md#other-page) [b](#one-two-three) [c](https://example.com/)\n"), [])

    def test_a_link_to_a_missing_file_is_a_fault(self):
        self.assertIn("no such file", self.faults_of("[a](missing.md)\n")[0])

    def test_a_link_to_a_missing_heading_is_a_fault(self):
        self.assertIn("no such heading", self.faults_of("[a](other.md#another)\n")[0])

    def test_the_second_heading_of_one_name_has_a_number(self):
        self.assertEqual(self.faults_of("# A\n\n# A\n\n[a](#a-1)\n"), [])
        self.assertIn("no such heading", self.faults_of("# A\n\n[a](#a-1)\n")[0])

    def test_a_link_in_a_block_of_code_is_none(self):
        self.assertEqual(self.faults_of("```text\n[a](missing.md)\n```\n"), [])


class Blocks(unittest.TestCase):
    def setUp(self):
        check.faults.clear()

    def faults_of(self, info, text):
        document(f"```{info}\n{text}\n```\n").check_blocks()
        return list(check.faults)

    def test_a_part_of_a_policy_or_of_a_provider_is_checked(self):
        self.assertEqual(self.faults_of("yaml", "spec:\n  risk: {mode: Observe}"), [])
        self.assertEqual(self.faults_of("yaml", "spec:\n  provisioning: Deny"), [])
        self.assertIn("spec.risk.mode", self.faults_of("yaml", "spec:\n  risk: {mode: Sometimes}")[0])

    def test_values_of_the_chart_are_checked(self):
        self.assertEqual(self.faults_of("yaml", "dataplane: {replicas: 3}"), [])
        self.assertTrue(self.faults_of("yaml", "dataplane: {copies: 3}"))

    def test_json_is_checked(self):
        self.assertEqual(self.faults_of("json", '{"a": 1}'), [])
        self.assertIn("not JSON", self.faults_of("json", "{a: 1}")[0])

    def test_flags_commands_targets_and_values_are_checked(self):
        self.assertEqual(self.faults_of("sh", "vestibule users list --policy auth/default && make docs"), [])
        self.assertEqual(self.faults_of("sh", "helm upgrade a b --set dataplane.replicas=3"), [])
        for wrong in ("vestibule users list --police a", "vestibule user list", "make doc", "helm upgrade a b --set dataplane.copies=3", "if true"):
            check.faults.clear()
            self.assertTrue(self.faults_of("sh", wrong), wrong)

    def test_a_block_that_is_run_must_succeed(self):
        self.assertEqual(self.faults_of("sh,run", "vestibule --version"), [])
        self.assertIn("exit code 1", self.faults_of("sh,run", "vestibule check missing")[0])

    def test_a_block_without_a_language_is_a_fault(self):
        self.assertTrue(self.faults_of("", "text"))


class References(unittest.TestCase):
    def test_a_cell_is_one_cell(self):
        self.assertEqual(reference.cell("a | b\n<c> `d|<e>`"), r"a \| b &lt;c> `d\|<e>`")

    def test_metrics_are_found_with_type_and_labels(self):
        rows = {row[0]: row[1:3] for row in reference.registered(reference.ROOT / "dataplane")}
        self.assertEqual(rows["`vestibule_request_seconds`"], ["histogram", "`route`, `outcome`"])
        self.assertEqual(rows["`vestibule_signins_total`"], ["counter", "`outcome`"])

    def test_codes_are_found_with_sentence_and_status(self):
        sentences, statuses = reference.codes_in_sources()
        self.assertEqual(statuses["token_expired"], {"401"})
        self.assertEqual(statuses["provider_unavailable"], {"503"})
        self.assertTrue(all(sentence.endswith(".") for sentence in sentences.values()))


if __name__ == "__main__":
    unittest.main()
