# shellcheck shell=bash disable=SC2154
# Runs the pods of the node.
run() {
  exec "$programs/kubelet" --config="$state/config/kubelet.yaml" --kubeconfig="$state/pki/kubelet.kubeconfig" --root-dir="$state/kubelet" \
    --hostname-override="$node_name" --node-ip="$node_address"
}

is_ready() {
  curl --silent --fail --max-time 2 http://127.0.0.1:10248/healthz
}
