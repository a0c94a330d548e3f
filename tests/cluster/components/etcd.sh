# shellcheck shell=bash disable=SC2154
# What the API server remembers. Without fsync: what is tested is a process that dies, not a machine.
run() {
  exec "$programs/etcd" --name "$node_name" --data-dir "$state/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster "$node_name=http://127.0.0.1:2380"
}

is_ready() {
  curl --silent --fail --max-time 2 http://127.0.0.1:2379/readyz
}
