# shellcheck shell=bash disable=SC2154
# Deployments to pods, pods to EndpointSlices, service accounts and their tokens, claims to volumes.
run() {
  # An outage of the API server that tests make lasts longer than the default of 50 s: the node and its pods would be called lost as soon as it is back,
  # before the kubelet can say otherwise.
  local kubeconfig="$state/pki/kube-controller-manager.kubeconfig"
  exec "$programs/kube-controller-manager" --kubeconfig="$kubeconfig" --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false --node-monitor-grace-period=180s --use-service-account-credentials=true \
    --service-account-private-key-file="$state/pki/service-accounts.key" --root-ca-file="$state/pki/ca.crt" \
    --cluster-signing-cert-file="$state/pki/ca.crt" --cluster-signing-key-file="$state/pki/ca.key"
}

is_ready() {
  curl --silent --fail --max-time 2 --insecure https://127.0.0.1:10257/healthz
}
