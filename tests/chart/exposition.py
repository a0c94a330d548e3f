"""What a /metrics text offers to queries: each series with its kind, its labels, and the values that a label may have."""

import dataclasses
import json
import re

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from helm import ROOT

# What a scrape adds to every series.
SCRAPED = frozenset({"namespace", "pod", "job", "instance"})


@dataclasses.dataclass(frozen=True)
class Series:
    # counter, gauge or bucket.
    kind: str
    labels: frozenset
    # The values of a label whose values are known beforehand.
    values: dict


def read(*texts):
    """Every series by its name, as Prometheus stores it."""
    offered = {"up": Series("gauge", SCRAPED, {})}
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                known = offered.get(sample.name, Series(kind(family, sample), SCRAPED, values(family)))
                offered[sample.name] = dataclasses.replace(known, labels=known.labels | set(sample.labels))
    return offered


def kind(family, sample):
    if family.type == "gauge":
        return "gauge"
    return "bucket" if sample.name.endswith("_bucket") else "counter"


def values(family):
    """The help text says which outcomes there are."""
    known = {"route": routes()} if family.name == "vestibule_request_seconds" else {}
    if said := re.search(r"outcome: ([\w, ]+)", family.documentation):
        words = set(re.split(r", | or ", said[1]))
        known["outcome"] = words if "an error code" not in words else words - {"an error code"} | set(codes())
    return known


def codes():
    """Every error code, with the status that the OpenAPI document answers it with, if it says."""
    source = (ROOT / "dataplane" / "src" / "failure.rs").read_text()
    named = re.findall(r'^ +[A-Z]\w+ "([a-z_]+)" ".+";$|=> "([a-z_]+)",$', source, re.MULTILINE)
    # No endpoint promises a fault of its own.
    found = {refused or again: None for refused, again in named} | {"internal": 500}
    for operations in openapi()["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                words = set(re.findall(r"\w+", answer["description"]))
                found |= {code: int(status) for code in words & set(found) if int(status) >= 400}
    return found


def routes():
    return {*openapi()["paths"], "/openapi.json", "/auth/mfa", "other"}


def openapi():
    return json.loads((ROOT / "dataplane" / "openapi.json").read_text())
