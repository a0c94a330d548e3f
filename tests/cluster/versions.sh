# shellcheck shell=bash disable=SC2034 # Read by the scripts that source this.
# What is built besides what the two go.mod files name. Kubernetes 1.35 is the last that works with the containerd 1.x of Debian 12.
kubernetes_version=v1.35.4
helm_version=v4.3.1
coredns_version=v1.13.1
