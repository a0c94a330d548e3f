# shellcheck shell=bash disable=SC2154
# Deployments to pods, pods to EndpointSlices, service accounts and their tokens, claims to volumes.
run() {
  local kubeconfig="$state/pki/kube-controller-manager.kubeconfig"
  exec "$programs/kube-controller-manager" --kubeconfig="$kubeconfig" --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig" \
    --bind-address=127.0.0.1 --leader-elect=false --use-service-account-credentials=true \
    --service-account-private-key-file="$state/pki/service-accounts.key" --root-ca-file="$state/pki/ca.crt" \
    --cluster-signing-cert-file="$state/pki/ca.crt" --cluster-signing-key-file="$state/pki/ca.key"
}

is_ready() {
  curl --silent --fail --max-time 2 --insecure https://127.0.0.1:10257/healthz
}
