# shellcheck shell=bash disable=SC2154 # `state` is of paths.sh.
# The cluster's own network, mount and process namespaces, which live as long as their keeper does.

# The process outside that waits for the keeper. The number alone could be another's by now; the name of the script, with its path, is not.
keeper_pid() {
  local pid
  pid="$(cat "$state/keeper.pid" 2>/dev/null)" || return 1
  [[ "$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")" == *"$cluster_scripts/keeper"* ]] || return 1
  echo "$pid"
}

# inside COMMAND...: in all three namespaces, where process ids are those of the cluster.
inside() {
  local pid
  pid="$(keeper_pid)" || { echo "the cluster is not up: make cluster-up" >&2; return 1; }
  nsenter --net="/proc/$pid/ns/net" --mount="/proc/$pid/ns/mnt" --pid="/proc/$pid/ns/pid_for_children" -- "$@"
}
