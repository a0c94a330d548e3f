# shellcheck shell=bash disable=SC2034 # Read by the scripts that source this.
# Where everything lies. Sourced by every script here.
cluster_scripts="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
repository="$(cd "$cluster_scripts/../.." && pwd)"
# shellcheck source=tests/cluster/versions.sh
. "$cluster_scripts/versions.sh"

# `cksum` is in POSIX, unlike the sha256 programs, and nothing here defends against anybody.
hash_of() {
  cat "$@" | cksum | tr -d ' '
}

# The programs, which cost minutes to build: outside `target/`, and found again for as long as their versions are the same.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/vestibule"
programs_cache="$cache/cluster-$(hash_of "$cluster_scripts"/versions.sh "$cluster_scripts"/{kubernetes,etcd}/go.{mod,sum})"
programs="$programs_cache/bin"

# What a running cluster writes, all of which `down` removes.
state="$repository/target/cluster"
kubeconfig="$state/admin.kubeconfig"

# A cgroup of its own for all pods of this checkout's cluster: another checkout's kubelet would end what it does not know.
cgroup="vestibule-$(cksum <<<"$repository" | cut -d' ' -f1)"
