# shellcheck shell=bash disable=SC2154 # `repository` is of paths.sh.
# One at a time: tests that run side by side may all ask for the cluster.

# hold_lock SCRIPT ARGUMENT...: starts the script again with the lock held by its parent, so that no daemon inherits it.
hold_lock() {
  [ "${CLUSTER_LOCK_HELD:-}" != "$repository" ] || return 0
  mkdir -p "$repository/target"
  CLUSTER_LOCK_HELD="$repository" exec flock --close "$repository/target/cluster.lock" "$@"
}
