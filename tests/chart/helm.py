"""Renders the chart as `helm template` does, and says where Helm is."""

import copy
import functools
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "vestibule"
RELEASE, NAMESPACE = "vestibule", "auth"
# The least that renders: how callers reach it must be chosen.
PLAIN = {"dataplane": {"plainHttp": True}}
TLS = {"tls": {"existingSecret": "vestibule-tls"}}
POSTGRES = {"tls": {"existingSecret": "vestibule-tls"}, "database": {"existingSecret": "db"}, "dataplane": {"replicas": 3}}


class Refused(Exception):
    """Helm's message."""


@functools.cache
def program():
    """The Helm that the cluster's tests build, or one that is installed; without either the tests are skipped, unless they must run."""
    for candidate in [os.environ.get("HELM"), built("helm"), shutil.which("helm")]:
        if candidate and Path(candidate).exists():
            return str(candidate)
    skip("no Helm: `make cluster-up` builds one, or HELM names one")


def built(name):
    """Where the cluster's tests have this program, once they have built it."""
    script = f'. "{ROOT}/tests/cluster/paths.sh" && echo "$programs"'
    return Path(subprocess.check_output(["bash", "-c", script], text=True).strip()) / name


def skip(message):
    if os.environ.get("VESTIBULE_REQUIRE_CLUSTER") == "1":
        raise RuntimeError(message)
    raise unittest.SkipTest(message)


def run(*arguments, values=None):
    """What Helm prints, with these values."""
    helm = program()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values or {}, file)
        file.flush()
        command = [helm, *arguments, "--values", file.name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout


def template(values):
    """The objects that these values give."""
    return copy.deepcopy(rendered(json.dumps(values, sort_keys=True)))


@functools.cache
def rendered(values):
    arguments = ["template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.35.4"]
    documents = yaml.load_all(run(*arguments, values=json.loads(values)), Loader=yaml.CSafeLoader)
    return [document for document in documents if document]


def merge(*all_values):
    """The values, laid over each other as Helm does."""
    merged = {}
    for values in all_values:
        for name, value in values.items():
            both = isinstance(value, dict) and isinstance(merged.get(name), dict)
            merged[name] = merge(merged[name], value) if both else value
    return merged


def find(objects, kind, name=None):
    """The one object of this kind, and of this name where it is given."""
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name}: {[o['metadata']['name'] for o in found]}"
    return found[0]


def kinds(objects):
    return [f"{o['kind']}/{o['metadata']['name']}" for o in objects]


def pods(objects):
    """Every pod that would run: the name of what makes it, its metadata and its spec."""
    for o in objects:
        if o["kind"] == "Pod":
            yield o["metadata"]["name"], o["metadata"], o["spec"]
        elif o["kind"] == "Deployment":
            pod = o["spec"]["template"]
            yield o["metadata"]["name"], pod["metadata"], pod["spec"]


def container(objects, deployment):
    """The one container of a Deployment."""
    (only,) = find(objects, "Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    return only
