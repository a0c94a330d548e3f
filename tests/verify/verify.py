"""Verifies an access token from the published keys with PyJWT, as a resource server in Python would."""

import argparse
import json
import sys

import jwt

ALGORITHMS = ["ES256", "ES384", "EdDSA", "RS256", "PS256"]
REQUIRED_CLAIMS = ["iss", "sub", "aud", "exp", "iat", "jti"]
FETCH_SECONDS_MAX = 10


def verify(token: str, issuer: str, audience: str, jwks: str) -> dict:
    key = jwt.PyJWKClient(jwks, timeout=FETCH_SECONDS_MAX).get_signing_key_from_jwt(token)
    verified = jwt.decode_complete(
        token,
        key,
        algorithms=ALGORITHMS,
        issuer=issuer,
        audience=audience,
        options={"require": REQUIRED_CLAIMS},
    )
    # RFC 9068, section 4: without this an ID token would pass for an access token.
    if verified["header"].get("typ", "").lower() not in ("at+jwt", "application/at+jwt"):
        raise jwt.InvalidTokenError("typ is not at+jwt")
    return verified["payload"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--issuer", required=True)
    parser.add_argument("--audience", required=True)
    parser.add_argument("--jwks", required=True, help="where the keys are published")
    parser.add_argument("--token-stdin", required=True, action="store_true", help="read the token from standard input")
    arguments = parser.parse_args()
    try:
        claims = verify(sys.stdin.read().strip(), arguments.issuer, arguments.audience, arguments.jwks)
    except jwt.PyJWTError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print(json.dumps(claims))
    return 0


if __name__ == "__main__":
    sys.exit(main())
