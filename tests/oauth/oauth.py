"""Uses Vestibule's OAuth endpoints with Authlib, as a service in Python would. README.md says what it is told and what it tells."""

import json
import os
import sys
import time

# Authlib refuses plain HTTP otherwise, which the tests use on loopback.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc.jwk import import_key

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
SECONDS_MAX = 20


def metadata(issuer):
    answer = requests.get(f"{issuer}/.well-known/oauth-authorization-server", timeout=SECONDS_MAX)
    answer.raise_for_status()
    found = AuthorizationServerMetadata(answer.json())
    for member in AuthorizationServerMetadata.REGISTRY_KEYS:
        # Authlib takes no empty list; without an authorization endpoint there is no response type to name.
        if member != "response_types_supported":
            getattr(found, f"validate_{member}")()
    if found["issuer"] != issuer:
        raise ValueError(f"the metadata is of {found['issuer']}")
    return found


class ShortLived(PrivateKeyJWT):
    """Authlib's own assertions live for an hour, and five minutes are accepted."""

    def sign(self, auth, token_endpoint):
        # New ones each time: Authlib would keep a `jti` in them, and that is used once.
        self.claims = {"exp": int(time.time()) + 60}
        return super().sign(auth, token_endpoint)


def session(task, found):
    proof = task.get("client_secret")
    if task["method"] == "private_key_jwt":
        key_type = "RSA" if task["algorithm"].startswith("RS") else "EC"
        proof = import_key(task["private_key"], key_type)
    made = OAuth2Session(
        task["client_id"],
        proof,
        token_endpoint_auth_method=task["method"],
        revocation_endpoint_auth_method=task["method"],
        default_timeout=SECONDS_MAX,
    )
    if task["method"] == "private_key_jwt":
        made.register_client_auth_method(ShortLived(found["token_endpoint"], alg=task["algorithm"]))
    return made


def run(task):
    found = metadata(task["issuer"])
    client = session(task, found)

    def introspect(token):
        answer = client.introspect_token(found["introspection_endpoint"], token=token)
        answer.raise_for_status()
        return answer.json()

    tokens = client.fetch_token(
        found["token_endpoint"], grant_type=EXCHANGE, subject_token=task["id_token"], subject_token_type=ID_TOKEN
    )
    exchanged = introspect(tokens["access_token"])
    following = client.refresh_token(found["token_endpoint"], refresh_token=tokens["refresh_token"])
    refreshed = introspect(following["access_token"])
    client.revoke_token(found["revocation_endpoint"], token=following["refresh_token"]).raise_for_status()
    revoked = introspect(following["access_token"])
    refused = None
    try:
        client.refresh_token(found["token_endpoint"], refresh_token=following["refresh_token"])
    except OAuthError as error:
        refused = error.error
    return {"exchanged": exchanged, "refreshed": refreshed, "revoked": revoked, "refresh_refused": refused}


if __name__ == "__main__":
    try:
        print(json.dumps(run(json.load(sys.stdin))))
    except Exception as error:
        print(f"failed: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
