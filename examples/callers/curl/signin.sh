#!/usr/bin/env bash
# Signs a person in at Vestibule with curl and jq: signin.sh URL [PROVIDER], with the ID token on standard input.
set -euo pipefail

url="${1:?usage: signin.sh URL [PROVIDER] <id-token}"
provider="${2:-}"
attempts_max=3
wait_seconds_max=5

main() {
  local body answer status attempt
  # The token goes through pipes: an argument could be read by every user of the machine.
  body="$(jq --raw-input --slurp --arg provider "$provider" \
    '{id_token: (. | rtrimstr("\n"))} + (if $provider == "" then {} else {provider: $provider} end)')"
  for ((attempt = 1; ; attempt++)); do
    answer="$(post <<<"$body")" || { echo "cannot reach $url" >&2; exit 2; }
    # The last line is what --write-out added.
    status="${answer##*$'\n'}"
    answer="${answer%$'\n'*}"
    case "$status" in
      200*) tell "$answer"; return ;;
      429* | 503*) again "$attempt" "${status#* }" && continue ;;
    esac
    refused "$answer" "$status"
  done
}

# Whom the request is for: rate limits and risk are judged by the person's address, not by this machine's.
post() {
  local headers=()
  [ -z "${USER_ADDRESS:-}" ] || headers+=(--header "X-Forwarded-For: $USER_ADDRESS")
  [ -z "${USER_AGENT:-}" ] || headers+=(--header "User-Agent: $USER_AGENT")
  [ -z "${USER_LANGUAGE:-}" ] || headers+=(--header "Accept-Language: $USER_LANGUAGE")
  curl --silent --show-error --max-time 10 --request POST --data-binary @- \
    --header 'Content-Type: application/json' ${headers[@]+"${headers[@]}"} \
    --write-out '\n%{http_code} %header{retry-after}' "$url/auth/id-token/signin"
}

# Four things may have come of it with 200: look at each of them before the tokens.
tell() {
  if [ "$(jq '.requires_mfa // false' <<<"$1")" = true ]; then
    jq --raw-output '"a second factor is needed (\(.required_mfa_methods | join(", "))): \(.mfa_check_reason)"' <<<"$1"
    exit 3
  fi
  if [ "$(jq '.must_change_password // false' <<<"$1")" = true ]; then
    echo "the password must be changed first"
    exit 4
  fi
  jq --raw-output '"signed in as \(.user.username // .user.id), for \(.expires_in) s"' <<<"$1"
}

# again ATTEMPT RETRY_AFTER: an outage or a limit ends by itself. Waits as long as the answer says, if that is bearable.
again() {
  local seconds="${2:-1}"
  [[ "$seconds" =~ ^[0-9]+$ ]] || seconds=1
  ((attempts_max > $1 && seconds <= wait_seconds_max)) || return 1
  sleep "$seconds"
}

# Errors are problem+json: `code` is stable, and request_id finds the reason in Vestibule's audit trail.
refused() {
  local said
  said="$(jq --raw-output 'select(.code) | "\(.code): \(.detail) (request \(.request_id))"' <<<"$1" 2>/dev/null)" || true
  echo "${said:-the answer is not of Vestibule: status ${2%% *}}" >&2
  case "$2" in
    429* | 5*) exit 2 ;;
    *) exit 1 ;;
  esac
}

main
