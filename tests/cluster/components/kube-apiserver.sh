# shellcheck shell=bash disable=SC2154
# The API. Tests may write issuers into `authentication.yaml`, which it reads again when the file changes.
run() {
  exec "$programs/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --advertise-address="$node_address" --bind-address=0.0.0.0 --secure-port=6443 --service-cluster-ip-range="$service_range" \
    --client-ca-file="$state/pki/ca.crt" --tls-cert-file="$state/pki/kube-apiserver.crt" --tls-private-key-file="$state/pki/kube-apiserver.key" \
    --kubelet-certificate-authority="$state/pki/ca.crt" --kubelet-client-certificate="$state/pki/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$state/pki/apiserver-kubelet-client.key" --kubelet-preferred-address-types=InternalIP \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file="$state/pki/service-accounts.key" \
    --service-account-signing-key-file="$state/pki/service-accounts.key" --authentication-config="$state/config/authentication.yaml" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true
}

is_ready() {
  curl --silent --fail --max-time 2 --cacert "$state/pki/ca.crt" "https://$node_address:6443/readyz"
}
