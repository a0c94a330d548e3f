# shellcheck shell=bash
# await SECONDS WHAT COMMAND...: until the command succeeds. A wait that runs out says for what it was.
await() {
  local seconds="$1" what="$2" end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= end)); then
      echo "$what: not there within $seconds s" >&2
      return 1
    fi
    sleep 0.1
  done
}
