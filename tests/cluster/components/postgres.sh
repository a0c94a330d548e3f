# shellcheck shell=bash disable=SC2034,SC2154
# PostgreSQL for the tests that want it, on the node: `component start postgres`, and from pods and tests alike
# postgres://vestibule:vestibule@10.245.0.1:5432/vestibule, with TLS (cluster's CA, names below) when the client asks for it.
stop_signal=INT # Ends connections; SIGTERM would wait for the clients to go.

run() {
  local server data=/run/postgres/data as_postgres=(setpriv --reuid=postgres --regid=postgres --clear-groups --)
  server="$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort --version-sort | tail -n 1)"
  # It refuses to be root, and another user may not reach the state folder under its own name.
  mkdir -p "$state/postgres" /run/postgres
  mountpoint --quiet /run/postgres || mount --bind "$state/postgres" /run/postgres
  if [ ! -e "/run/postgres/ready" ]; then
    rm -rf /run/postgres/*
    install --owner=postgres --mode=600 "$state/pki/postgres.key" /run/postgres/tls.key
    install --owner=postgres --mode=600 "$state/pki/postgres.crt" /run/postgres/tls.crt
    echo vestibule >/run/postgres/password
    chown postgres /run/postgres
    "${as_postgres[@]}" "$server/initdb" --pgdata="$data" --username=vestibule --pwfile=/run/postgres/password --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
    echo "host all all 0.0.0.0/0 scram-sha-256" >>"$data/pg_hba.conf"
    "${as_postgres[@]}" "$server/postgres" --single -D "$data" postgres <<<"create database vestibule"
    touch "/run/postgres/ready"
  fi
  exec "${as_postgres[@]}" "$server/postgres" -D "$data" -c listen_addresses="$node_address" -c unix_socket_directories=/run/postgres \
    -c ssl=on -c ssl_cert_file=/run/postgres/tls.crt -c ssl_key_file=/run/postgres/tls.key
}

is_ready() {
  pg_isready --quiet --host="$node_address"
}
