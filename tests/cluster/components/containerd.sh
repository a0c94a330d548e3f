# shellcheck shell=bash disable=SC2154
# Runs the containers.
run() {
  exec containerd --config "$state/config/containerd.toml"
}

is_ready() {
  ctr version
}
