# shellcheck shell=bash disable=SC2154
# Services, as iptables rules of the cluster's own network.
run() {
  # What it would set for connection tracking can be set only in the machine's own network.
  exec "$programs/kube-proxy" --kubeconfig="$state/pki/kube-proxy.kubeconfig" --hostname-override="$node_name" --proxy-mode=iptables \
    --cluster-cidr="$pod_range" --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s
}

is_ready() {
  curl --silent --fail --max-time 2 http://127.0.0.1:10256/livez
}
