#!/usr/bin/env bash
# A PostgreSQL of its own, in a temporary folder, for as long as standard input is open.
#
#   tests/tools/postgres.sh [SETTING=VALUE …]
#
# Its first line of output says where it is: {"port": …, "folder": …, "password": …}; the user is postgres. Then it takes one
# command a line and answers each with a line of its own:
#   kill     as kill -9, of every process of the server
#   stop     as an administrator stops it
#   start    after either
#   freeze   no process of the server gets to do anything
#   thaw     they go on
# A certificate for localhost lies in the folder as server.crt.
set -euo pipefail

folder="" server=""

main() {
  local bin settings=() setting
  bin="$(binaries)"
  for setting in "$@"; do settings+=(-c "$setting"); done
  folder="$(mktemp -d "${TMPDIR:-/tmp}/vestibule-postgres.XXXXXX")"
  trap clean EXIT
  trap 'exit 1' INT TERM HUP

  local password port
  password="pw$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')"
  port="$(free_port)"
  printf '%s' "$password" >"$folder/password"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
    -keyout "$folder/server.key" -out "$folder/server.crt" 2>/dev/null
  chmod 600 "$folder/server.key"
  if [ "$(id -u)" = 0 ]; then chown -R postgres: "$folder"; fi
  as_owner "$bin/initdb" --pgdata="$folder/data" --username=postgres --pwfile="$folder/password" --auth=scram-sha-256 \
    --encoding=UTF8 --no-locale --no-sync --no-instructions >"$folder/initdb.log"

  command_line=("$bin/postgres" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories=
    -c max_connections=200 -c ssl=on -c "ssl_cert_file=$folder/server.crt" -c "ssl_key_file=$folder/server.key" "${settings[@]}")
  start
  chmod 755 "$folder"
  printf '{"port": %s, "folder": "%s", "password": "%s"}\n' "$port" "$folder" "$password"
  while read -r command; do
    case "$command" in
      kill) kill -STOP "$server"; end KILL "$(processes)" ;;
      stop) end INT "$server" ;;
      start) start ;;
      freeze) kill -STOP "$server"; signal STOP ;;
      thaw) signal CONT ;;
      *) echo "there is no command $command" >&2; exit 2 ;;
    esac
    echo "$command: done"
  done
}

# Debian keeps them out of the PATH, one folder for each version.
binaries() {
  local found
  found="$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)"
  if [ -n "$found" ] && [ -x "$found/postgres" ]; then echo "$found"; return; fi
  found="$(command -v postgres || true)"
  [ -n "$found" ] || { echo "missing: PostgreSQL (Debian: postgresql)" >&2; exit 1; }
  dirname "$found"
}

# Below those that outgoing connections take, so that it is still free when the server starts again.
free_port() {
  python3 - <<'END'
import random, socket
while True:
    port = random.randint(20000, 32000)
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(port)
        break
END
}

# The server refuses to run as root.
as_owner() {
  if [ "$(id -u)" = 0 ]; then (cd "$folder" && exec setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"); else "$@"; fi
}

start() {
  as_owner "${command_line[@]}" >>"$folder/server.log" 2>&1 </dev/null &
  local starter=$!
  for _ in $(seq 600); do
    # Its file names the process, and says when it takes connections.
    if server="$(head -n 1 "$folder/data/postmaster.pid" 2>/dev/null)" && [ "$(sed -n '8s/ *$//p' "$folder/data/postmaster.pid" 2>/dev/null)" = ready ]; then
      if [ "$server" = "$starter" ] || [ "$(ps -o ppid= -p "$server" | tr -d ' ')" = "$starter" ]; then return; fi
    fi
    kill -0 "$starter" 2>/dev/null || break
    sleep 0.05
  done
  cat "$folder/server.log" >&2
  exit 1
}

processes() {
  echo "$server"
  ps -o pid= --ppid "$server" || true
}

# Of the postmaster and all that it has started; while it is stopped it starts nothing anew.
signal() {
  local process
  for process in $(processes); do kill "-$1" "$process" 2>/dev/null || true; done
}

# The memory that they share goes with the last of them; only then can the server be started again.
end() {
  local process
  for process in $2; do kill "-$1" "$process" 2>/dev/null || true; done
  for process in $2; do
    for _ in $(seq 400); do
      case "$(ps -o stat= -p "$process")" in "" | Z*) break ;; esac
      sleep 0.025
    done
  done
  server=""
}

clean() {
  if [ -n "$server" ]; then
    kill -STOP "$server" 2>/dev/null || true
    signal KILL
  fi
  rm -rf "$folder"
}

main "$@"
