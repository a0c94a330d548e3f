#!/usr/bin/env python3
"""Signs a person in at Vestibule with the standard library: signin.py URL [PROVIDER], with the ID token on standard input."""

import json
import os
import sys
import time
import urllib.error
import urllib.request

ATTEMPTS_MAX = 3
WAIT_SECONDS_MAX = 5
TIMEOUT_SECONDS = 10
ANSWER_BYTES_MAX = 1 << 20


class Refused(Exception):
    """An error of Vestibule: `code` is stable, and `request_id` finds the reason in its audit trail."""

    def __init__(self, status, problem):
        self.status = status
        self.code = problem.get("code", "unknown")
        self.request_id = problem.get("request_id", "unknown")
        super().__init__(f"{self.code}: {problem.get('detail', '')} (request {self.request_id})")


def sign_in(url, id_token, provider=None, person=None):
    """The answer, of which the caller looks at `requires_mfa` and `must_change_password` before the tokens.

    `person` has the headers that say whom the request is for: rate limits and risk are judged by the person's address, not by
    this machine's.
    """
    body = {"id_token": id_token}
    if provider:
        body["provider"] = provider
    request = urllib.request.Request(
        f"{url}/auth/id-token/signin",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **(person or {})},
    )
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return json.loads(answer.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            wait = retry_after(error)
            if error.code not in (429, 503) or attempt == ATTEMPTS_MAX or wait > WAIT_SECONDS_MAX:
                raise Refused(error.code, problem_of(error)) from error
            # An outage or a limit ends by itself.
            time.sleep(wait)
    raise AssertionError("the last attempt answers or raises")


def retry_after(error):
    seconds = error.headers.get("Retry-After", "1")
    return int(seconds) if seconds.isascii() and seconds.isdigit() else 1


def problem_of(error):
    """What stands in the answer; something between here and Vestibule may have answered without JSON."""
    try:
        problem = json.loads(error.read(ANSWER_BYTES_MAX))
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: signin.py URL [PROVIDER] <id-token")
    headers = {"X-Forwarded-For": "USER_ADDRESS", "User-Agent": "USER_AGENT", "Accept-Language": "USER_LANGUAGE"}
    person = {header: os.environ[name] for header, name in headers.items() if os.environ.get(name)}
    try:
        answer = sign_in(sys.argv[1], sys.stdin.read().strip(), *sys.argv[2:], person=person)
    except Refused as error:
        print(error, file=sys.stderr)
        return 2 if error.status == 429 or error.status >= 500 else 1
    except (OSError, ValueError) as error:
        print(f"cannot reach {sys.argv[1]}: {error}", file=sys.stderr)
        return 2
    if answer.get("requires_mfa"):
        print(f"a second factor is needed ({', '.join(answer['required_mfa_methods'])}): {answer['mfa_check_reason']}")
        return 3
    if answer.get("must_change_password"):
        print("the password must be changed first")
        return 4
    user = answer["user"]
    print(f"signed in as {user.get('username', user['id'])}, for {answer['expires_in']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
