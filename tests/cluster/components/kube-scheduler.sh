# shellcheck shell=bash disable=SC2154
# Gives pods their node, of which there is one.
run() {
  local kubeconfig="$state/pki/kube-scheduler.kubeconfig"
  exec "$programs/kube-scheduler" --kubeconfig="$kubeconfig" --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false
}

is_ready() {
  curl --silent --fail --max-time 2 --insecure https://127.0.0.1:10259/healthz
}
