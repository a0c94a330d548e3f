# shellcheck shell=bash disable=SC2154
# Names of Services. A process of the node, behind the Service kube-dns.
run() {
  exec "$programs/coredns" -conf "$state/config/Corefile"
}

is_ready() {
  curl --silent --fail --max-time 2 "http://$node_address:8181/ready"
}
