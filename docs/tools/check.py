#!/usr/bin/env python3
"""Checks the documents: links and anchors, manifests, chart values, JSON, shell commands, and the size of the README.

- A link inside the repository leads to a file, and its anchor to a heading. A page of the book links to pages of the book only.
- A `yaml` block that is a manifest passes `vestibule check`. A block that is only a `spec:` is completed to a SigninPolicy or an
  OidcProvider first, and the Secrets and ConfigMaps of SURROUNDINGS are added to both. Other `yaml` blocks are values of the chart when
  their names are, and are held to its schema; else they only parse.
- A `json` block parses.
- A `sh` block is valid for bash; what it asks of `vestibule`, `vestibule-operator` and `make` exists, and so do the values that it sets with Helm.
- A `sh,run` block is run, after those before it on the page, in a folder that holds the page's manifests whose first line is
  `# a/file.yaml`. Any exit code but 0 is a fault.
"""

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import jsonschema_rs
import yaml
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "docs/src"
PROGRAMS = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "debug"
README_LINES, README_BYTES = 150, 10_240

# What the documents' manifests name: (kind, name) → entries.
SURROUNDINGS = {
    ("Secret", "signing-2026"): ["tls.key:key"],
    ("Secret", "signing-2027"): ["tls.key:key"],
    ("Secret", "mfa-2026"): ["key:secret"],
    ("Secret", "mfa-2027"): ["key:secret"],
    ("Secret", "smtp"): ["username:text", "password:text"],
    ("Secret", "sms"): ["key:secret"],
    ("Secret", "legacy"): ["secret:secret"],
    ("ConfigMap", "gateway"): ["jwks.json:jwks"],
    ("ConfigMap", "corp-jwks"): ["jwks.json:jwks"],
    ("ConfigMap", "corp-ca"): ["ca.crt:certificate"],
    ("ConfigMap", "kube-root-ca.crt"): ["ca.crt:certificate"],
}
PROVIDER_OF_CLIENTS = {
    "apiVersion": "vestibule.dev/v1alpha1",
    "kind": "OidcProvider",
    "metadata": {"name": "kubernetes"},
    "spec": {"issuer": "https://kubernetes.default.svc.cluster.local", "audiences": ["vestibule-clients"], "provisioning": "Deny"},
}
POLICY = {
    "apiVersion": "vestibule.dev/v1alpha1",
    "kind": "SigninPolicy",
    "metadata": {"name": "default"},
    "spec": {"token": {"issuer": "https://auth.example.com", "audiences": ["internal"]}, "signing": {"managed": {"algorithm": "ES256"}}},
}
PROVIDER = {
    "apiVersion": "vestibule.dev/v1alpha1",
    "kind": "OidcProvider",
    "metadata": {"name": "corp"},
    "spec": {"issuer": "https://login.corp.example", "audiences": ["web"]},
}

faults = []


def main():
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md", "charts/README.md", "charts/vestibule/README.md")]
    pages += sorted(BOOK.rglob("*.md"))
    documents = {page: Document(page) for page in pages}
    for document in documents.values():
        document.check_links(documents)
        document.check_blocks()
    check_summary(documents)
    check_readme()
    if faults:
        sys.exit("\n".join([*faults, f"{len(faults)} faults in the documents"]))
    blocks = sum(len(document.blocks) for document in documents.values())
    links = sum(len(document.links) for document in documents.values())
    print(f"checked {links} links and {blocks} blocks of code in {len(documents)} documents")


def fault(page, line, text):
    faults.append(f"{page.relative_to(ROOT)}:{line}: {text}")


class Document:
    def __init__(self, page):
        self.page = page
        self.text = page.read_text()
        self.links, self.blocks, self.anchors = [], [], {}
        tokens = MarkdownIt("commonmark").enable("table").parse(self.text)
        line = 1
        for place, token in enumerate(tokens):
            line = token.map[0] + 1 if token.map else line
            if token.type == "heading_open":
                self.add_anchor(tokens[place + 1])
            elif token.type == "fence":
                self.blocks.append((line, token.info.strip(), expand(page, token.content)))
            elif token.type == "inline":
                for child in token.children:
                    target = child.attrs.get("href") or child.attrs.get("src")
                    if target:
                        self.links.append((line, target))

    def add_anchor(self, inline):
        """As GitHub and mdBook make them: the second of the same name ends with -1."""
        title = "".join(child.content for child in inline.children if child.type in ("text", "code_inline"))
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        count = self.anchors.get(anchor, 0)
        self.anchors[anchor] = count + 1
        if count:
            self.anchors[f"{anchor}-{count}"] = 1

    def check_links(self, documents):
        for line, target in self.links:
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (self.page.parent / path).resolve() if path else self.page
            if not file.exists():
                fault(self.page, line, f"{target}: there is no such file")
            elif self.page.is_relative_to(BOOK) and not file.is_relative_to(BOOK):
                fault(self.page, line, f"{target}: leads out of the book")
            elif anchor and file.suffix == ".md" and anchor not in (documents.get(file) or Document(file)).anchors:
                fault(self.page, line, f"{target}: there is no such heading")

    def check_blocks(self):
        with tempfile.TemporaryDirectory() as folder:
            for line, info, text in self.blocks:
                language = re.split(r"[ ,]", info)[0]
                said = None
                if language == "yaml":
                    said = check_yaml(text, Path(folder))
                elif language == "json":
                    said = check_json(text)
                elif language == "sh":
                    said = check_shell(text) or (run(text, folder) if info == "sh,run" else None)
                elif not language:
                    said = "say which language the block is in (text, where it is none)"
                if said:
                    fault(self.page, line, said)


def expand(page, text):
    def included(found):
        return (page.parent / found[1]).read_text()

    return re.sub(r"\{\{#include ([^}:]+)\}\}", included, text)


def check_summary(documents):
    summary = documents[BOOK / "SUMMARY.md"]
    listed = {(BOOK / target).resolve() for _, target in summary.links}
    for page in documents:
        if page.is_relative_to(BOOK) and page != summary.page and page not in listed:
            fault(page, 1, "is not in SUMMARY.md")


def check_readme():
    data = (ROOT / "README.md").read_bytes()
    lines = data.count(b"\n")
    if lines > README_LINES or len(data) > README_BYTES:
        faults.append(f"README.md: {lines} lines and {len(data)} bytes; at most {README_LINES} and {README_BYTES}: move something into docs/")


# --- YAML and JSON


def check_yaml(text, folder):
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        return f"not YAML: {error}"
    if any(isinstance(document, dict) and str(document.get("apiVersion", "")).startswith("vestibule.dev/") for document in documents):
        name = re.match(r"# (\S+\.yaml)", text)
        if name:
            (folder / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / name[1]).write_text(text)
        return check_manifests(documents)
    if len(documents) == 1 and isinstance(documents[0], dict):
        only = documents[0]
        if set(only) == {"spec"}:
            said = [check_manifests([merged(base, only), *rest]) for base, rest in ((POLICY, []), (PROVIDER, [POLICY]))]
            # Of the two faults the one that is not "this is the other kind".
            return None if None in said else min(said, key=lambda text: "the field is not known" in text)
        if set(only) <= set(chart_schema()["properties"]):
            return check_values(only)
    return None


def merged(base, over):
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    # A source of signing keys takes the place of the other.
    base = {key: value for key, value in base.items() if not (key == "managed" and "secretRefs" in over)}
    return {key: merged(base.get(key), over.get(key, base.get(key))) if key in over else base[key] for key in {**base, **over}}


def check_manifests(documents):
    names = {(document.get("kind"), document.get("metadata", {}).get("name")) for document in documents}
    namespaces = {document.get("metadata", {}).get("namespace", "default") for document in documents}
    more = [entry for namespace in namespaces for entry in surroundings(namespace) if (entry["kind"], entry["metadata"]["name"]) not in names]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all(documents + more, file)
        file.flush()
        done = subprocess.run([PROGRAMS / "vestibule", "check", file.name], capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stdout + done.stderr).replace(file.name, "the block").strip()


@cache
def material(kind, name):
    """Another one for each name; `name` is only the key of the cache."""
    if kind == "key":
        return subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], capture_output=True, text=True, check=True).stdout
    if kind == "certificate":
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=ca -days 30".split()
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if kind == "jwks":
        # The key of RFC 7517, appendix A.1.
        return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]})
    return secrets.token_hex(16) if kind == "secret" else kind


def surroundings(namespace):
    for (kind, name), entries in SURROUNDINGS.items():
        data = {key: material(what, name) for key, what in (entry.split(":") for entry in entries)}
        if kind == "Secret":
            data = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        yield {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "data": data}
    provider = {**PROVIDER_OF_CLIENTS, "metadata": {"name": "kubernetes", "namespace": namespace}}
    yield provider


@cache
def chart_schema():
    return json.loads((ROOT / "charts/vestibule/values.schema.json").read_text())


def check_values(values):
    said = [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in jsonschema_rs.validator_for(chart_schema()).iter_errors(values)]
    return "\n".join(said) or None


def check_json(text):
    try:
        json.loads(text)
    except ValueError as error:
        return f"not JSON: {error}"
    return None


# --- Shell


def check_shell(text):
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        return done.stderr.strip()
    for command in commands(text):
        program, words = command[0], command[1:]
        said = None
        if program in ("vestibule", "vestibule-operator"):
            said = check_program(program, words)
        elif program == "make" and words and words[0] not in make_targets():
            said = f"make {words[0]}: there is no such target"
        elif program == "helm":
            said = check_helm(words)
        if said:
            return said
    return None


def commands(text):
    """Each command line as words, as far as that is needed here: without comments, redirections and what follows a pipe."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        for part in re.split(r"\s\|\|?\s|\s&&\s|\$\(", re.sub(r"(^|\s)#.*", "", line)):
            words = part.split()
            while words and re.match(r"^[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield [words[0].rsplit("/", 1)[-1], *words[1:]]


def check_program(program, words):
    text, used = help_of(program, ()), ()
    for word in words:
        if word.startswith("-"):
            flag = word.split("=")[0]
            if flag not in ("-", "-h", "--help") and not re.search(rf"(^|[\s,]){re.escape(flag)}\b", text):
                return f"{' '.join([program, *used])} has no {flag}"
        elif re.search(rf"^  {re.escape(word)}(  |$)", commands_of(text), re.MULTILINE):
            used += (word,)
            text = help_of(program, used)
        elif not used:
            return f"{program} has no command {word}"
    return None


def commands_of(text):
    found = re.search(r"^Commands:\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


@cache
def help_of(program, words):
    return subprocess.run([PROGRAMS / program, *words, "--help"], capture_output=True, text=True, check=True).stdout


@cache
def make_targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_helm(words):
    for place, word in enumerate(words):
        if word in ("--set", "--set-string", "--set-file"):
            for pair in re.split(r"(?<!\\),", words[place + 1].strip("'\"")):
                node, path = chart_schema(), re.sub(r"\[\d+\].*", "", pair.split("=")[0])
                for name in path.split("."):
                    while "$ref" in node:
                        node = chart_schema()["definitions" if "definitions" in chart_schema() else "$defs"][node["$ref"].rsplit("/", 1)[1]]
                    if node.get("additionalProperties", True) is not False and name not in node.get("properties", {}):
                        break
                    if name not in node.get("properties", {}):
                        return f"the chart has no value {path}"
                    node = node["properties"][name]
    return None


def run(text, folder):
    environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    return None if done.returncode == 0 else f"exit code {done.returncode}: {(done.stdout + done.stderr).strip()}"


if __name__ == "__main__":
    main()
