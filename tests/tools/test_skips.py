"""No skip hides: each tool's skips are counted, and one that is not listed with its reason fails the continuous integration."""

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
NODE = "import test from 'node:test'; test('one', {skip: 'no reason\\tto run'}, () => {}); test('two', () => {}); test.skip('three', () => {});"
PYTHON = "import unittest\nclass T(unittest.TestCase):\n    @unittest.skip('not here')\n    def test_it(self): pass\n    def test_other(self): pass\n"


class Skips(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environment = os.environ | {"VESTIBULE_SKIPS": str(self.folder / "skips")}

    def run_tool(self, *command):
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)

    def skips(self, *arguments):
        return self.run_tool(TOOLS / "skips", *arguments)

    def listed(self, text):
        (self.folder / "listed").write_text(text)
        return self.skips("hold", self.folder / "listed")

    def test_a_report_is_one_line_with_a_count_for_each_reason(self):
        self.assertEqual(self.skips("report", "cargo").stdout, "skipped: 0\n")
        for check in ["a", "b"]:
            self.skips("add", "python", check, "no Helm")
        self.skips("add", "cluster", "all", "not root")
        self.skips("add", "lint", "shellcheck", "not installed")
        self.assertEqual(self.skips("report", "python", "cluster").stdout, "skipped: 3 (2 python: no Helm; 1 cluster: not root)\n")
        self.skips("begin", "python")
        self.assertEqual(self.skips("report", "python", "cluster").stdout, "skipped: 1 (1 cluster: not root)\n")

    def test_a_skip_that_is_not_listed_with_its_reason_fails(self):
        self.assertEqual(self.listed("").returncode, 0)
        self.skips("add", "python", "a", "no Helm")
        refused = self.listed("# a comment\npython\tb\tbecause\n")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("python\ta\tno Helm", refused.stderr)
        self.assertEqual(self.listed("python\ta\n").returncode, 1, "a reason is wanted")
        self.assertEqual(self.listed("python\ta\tbecause\n").returncode, 0)

    def test_what_node_and_python_and_rust_skip_is_in_the_register(self):
        (self.folder / "it.test.mjs").write_text(NODE)
        self.run_tool("node", "--test", f"--test-reporter={TOOLS}/skips.mjs", "--test-reporter-destination=stderr", self.folder / "it.test.mjs")
        (self.folder / "test_it.py").write_text(PYTHON)
        done = self.run_tool(sys.executable, TOOLS / "python-tests", "discover", "--start-directory", self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.skips("ignored")
        lines = (self.folder / "skips").read_text().splitlines()
        self.assertIn("node\tone\tno reason to run", lines)
        self.assertIn("node\tthree\tno reason given", lines)
        self.assertIn("python\ttest_it.T.test_it\tnot here", lines)
        self.assertTrue(any("signs_in_until_killed" in line for line in lines), lines)
        self.assertEqual(len(lines), 4, lines)
