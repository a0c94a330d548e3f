"""The real programs, for the metrics that they really expose: a data plane that has refused requests, and an operator that leads."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

from helm import NAMESPACE, ROOT, built, skip

STARTS_SECONDS_MAX = 60
ANSWERS_SECONDS_MAX = 10
TOKEN = "made-up"
POLICY = {
    "apiVersion": "vestibule.dev/v1alpha1",
    "kind": "SigninPolicy",
    "metadata": {"name": "default", "namespace": NAMESPACE},
    "spec": {"token": {"issuer": "http://auth.corp.localhost", "audiences": ["internal"]}, "signing": {"managed": {"algorithm": "ES256"}}},
}
# A family that counts by a label is there from its first count on: a refusal is one.
REFUSED = [
    ("/auth/id-token/signin", {"id_token": "none"}),
    ("/auth/token/refresh", {"refresh_token": "none"}),
    ("/auth/mfa/verify", {"challenge_token": "none", "method": "totp", "code": "000000"}),
]


def dataplane_metrics():
    """What a data plane exposes that has refused a request of each kind."""
    with contextlib.ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        (folder / "manifests").mkdir()
        (folder / "manifests" / "policy.yaml").write_text(yaml.safe_dump(POLICY))
        places = ["--manifests", folder / "manifests", "--data-dir", folder / "data"]
        listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--plain-http"]
        log = start(ends, folder, [program("vestibule"), "serve", *places, *listen])
        said = until(lambda: line(log, "serving"), log)
        for path, body in REFUSED:
            request(f"http://{said['address']}{path}", body)
        return request(f"http://{said['admin']}/metrics")


def operator_metrics():
    """What an operator exposes that leads at a real API server, and has published."""
    for name in ["etcd", "kube-apiserver"]:
        if not built(name).exists():
            skip(f"no {name}: `make cluster-up` builds one")
    with contextlib.ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        server = start_api_server(ends, folder)
        for definition in sorted((ROOT / "crds").glob("*.yaml")):
            request(f"{server}/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(definition.read_text()))
        request(f"{server}/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(kubeconfig_for(server)))
        command = [program("vestibule-operator"), "run", "--namespace", NAMESPACE, "--listen", "127.0.0.1:0"]
        log = start(ends, folder, command, KUBECONFIG=str(kubeconfig))
        said = until(lambda: line(log, "watching"), log)

        def published():
            text = request(f"http://{said['admin']}/metrics")
            return text if "vestibule_operator_reconciles_total{" in text else None

        return until(published, log)


def start_api_server(ends, folder):
    """Starts etcd and an API server that knows one administrator, and gives its address."""
    etcd, api = free_port(), free_port()
    store = f"http://127.0.0.1:{etcd}"
    peers = ["--listen-peer-urls", "http://127.0.0.1:0"]
    start(ends, folder, [built("etcd"), "--data-dir", folder / "etcd", "--unsafe-no-fsync", "--listen-client-urls", store, "--advertise-client-urls", store, *peers])
    key = folder / "service-accounts.key"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    (folder / "tokens.csv").write_text(f"{TOKEN},administrator,administrator,system:masters\n")
    listen = [f"--etcd-servers={store}", "--bind-address=127.0.0.1", f"--secure-port={api}", f"--cert-dir={folder}/certificates"]
    accounts = ["--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"]
    rights = ["--authorization-mode=RBAC", f"--token-auth-file={folder}/tokens.csv", "--service-cluster-ip-range=10.96.0.0/16"]
    log = start(ends, folder, [built("kube-apiserver"), *listen, *accounts, *rights])
    server = f"https://127.0.0.1:{api}"
    until(lambda: request(f"{server}/readyz") == "ok", log)
    return server


def kubeconfig_for(server):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "it", "user": {"token": TOKEN}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }


def program(name):
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    found = target / "debug" / name
    if not found.exists():
        raise RuntimeError(f"{found} is missing: `cargo build --workspace` makes it, and `make test` does that first")
    return found


def start(ends, folder, command, **variables):
    """Starts it until the end of `ends`, and gives the file that it logs to."""
    log = folder / f"{Path(command[0]).name}.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VESTIBULE_")}
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment | variables, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    ends.callback(process.wait)
    ends.callback(process.kill)
    return log


def line(log, message):
    """The line of a JSON log with this message, once it is there whole."""
    for text in log.read_text().splitlines(keepends=True):
        if text.startswith("{") and text.endswith("\n"):
            said = json.loads(text)
            if said.get("message") == message:
                return said
    return None


def until(condition, log):
    """Waits for what the condition gives; a connection that is refused is one more reason to wait."""
    deadline = time.monotonic() + STARTS_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if given := condition():
                return given
        time.sleep(0.05)
    raise RuntimeError(f"not within {STARTS_SECONDS_MAX} s:\n{log.read_text()[-4000:]}")


def request(url, body=None):
    """The body of the answer, whatever its status: to GET, or to POST where there is something to send."""
    # The API server's certificate is its own, made a moment ago.
    context = ssl._create_unverified_context() if url.startswith("https:") else None
    headers = {"Authorization": f"Bearer {TOKEN}"} if context else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=ANSWERS_SECONDS_MAX, context=context) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.read().decode()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
