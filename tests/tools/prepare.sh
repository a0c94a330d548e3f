#!/usr/bin/env bash
# Makes what the tests need beyond cargo: npm packages, a Python environment, programs in Go and Helm. What is there already
# is left alone: each thing has a name, or a stamp, that carries the hash of what it is made from.
#
# What is made lies in the cache folder, so that `make clean` does not cost it; `target/tools` leads there.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache="${XDG_CACHE_HOME:-$HOME/.cache}/vestibule"
links="$PWD/target/tools"

main() {
  debian_packages
  name_what_is_missing
  mkdir -p "$cache" "$links"
  npm_packages tests/provider
  npm_packages tests/verify
  npm_packages tests/oauth
  npm_packages tests/page
  python_environment
  go_program tests/verify verify-go "the verifier in Go"
  go_program tests/h2spec h2spec "h2spec, which checks HTTP/2"
  go_program tests/oauth oauth-go "the OAuth client in Go"
  go_program examples/callers/go signin-go "the caller in Go"
  # The chart's checks render it. A Helm that HELM names takes the place of the one that is built here.
  [ -n "${HELM:-}" ] || tests/cluster/build helm >/dev/null
}

# Only what has no ordinary way without root, and only where nobody is asked for a password.
debian_packages() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return; fi
  local packages=()
  has_postgres || packages+=(postgresql)
  # Without a font for Chinese the screenshots of it show boxes.
  has_chromium || packages+=(chromium fonts-wqy-microhei)
  command -v shellcheck >/dev/null || packages+=(shellcheck)
  if [ ${#packages[@]} -eq 0 ]; then return; fi
  echo "installing ${packages[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}"; } >/dev/null ||
    echo "${packages[*]} could not be installed" >&2
}

# Debian keeps its programs out of the PATH.
has_postgres() {
  [ -n "$(find /usr/lib/postgresql -mindepth 3 -maxdepth 3 -path '*/bin/postgres' 2>/dev/null)" ] || command -v postgres >/dev/null
}

has_chromium() {
  [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}

name_what_is_missing() {
  local missing=()
  has_version node 'v([0-9]+)\.([0-9]+)' 20 19 --version || missing+=("Node 20.19 or newer")
  command -v npm >/dev/null || missing+=("npm")
  has_version python3 'Python ([0-9]+)\.([0-9]+)' 3 10 --version || missing+=("Python 3.10 or newer")
  if command -v python3 >/dev/null && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then missing+=("Python's venv (Debian: python3-venv)"); fi
  has_version go 'go([0-9]+)\.([0-9]+)' 1 25 version || missing+=("Go 1.25 or newer")
  has_postgres || missing+=("PostgreSQL 13 or newer (Debian: postgresql)")
  has_chromium || missing+=("Chromium (Debian: chromium)")
  command -v openssl >/dev/null || missing+=("openssl")
  command -v curl >/dev/null || missing+=("curl")
  command -v jq >/dev/null || missing+=("jq")
  command -v cc >/dev/null || missing+=("a C compiler named cc")
  command -v cargo >/dev/null || missing+=("Rust by rustup")
  [ ${#missing[@]} -eq 0 ] && return
  local list
  list="$(printf '%s, ' "${missing[@]}")"
  echo "missing: ${list%, }; install that and run this again" >&2
  exit 1
}

# has_version COMMAND PATTERN MAJOR MINOR ARGUMENT: the first two groups of the pattern are the version found.
has_version() {
  command -v "$1" >/dev/null && [[ "$("$1" "$5" 2>&1)" =~ $2 ]] || return 1
  local major="${BASH_REMATCH[1]}" minor="${BASH_REMATCH[2]}"
  ((major > $3 || (major == $3 && minor >= $4)))
}

npm_packages() {
  local folder="$1" stamp="$1/node_modules/.stamp" hash
  hash="$(hash_of "$folder/package.json" "$folder/package-lock.json")"
  [ "$(cat "$stamp" 2>/dev/null)" = "$hash" ] && return
  echo "installing npm packages in $folder"
  (cd "$folder" && npm ci --silent --no-audit --no-fund --ignore-scripts)
  echo "$hash" >"$stamp"
}

python_environment() {
  local environment
  environment="$cache/python-$(hash_of tests/verify/requirements.txt <(python3 --version))"
  if [ ! -e "$environment/.complete" ]; then
    echo "making a Python environment"
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r tests/verify/requirements.txt
    touch "$environment/.complete"
  fi
  ln -sfn "$environment" "$links/python"
}

# go_program FOLDER NAME DESCRIPTION
go_program() {
  local folder="$1" name="$2" program
  program="$cache/$name-$(hash_of "$folder"/*.go "$folder"/go.* <(go version))"
  if [ ! -e "$program" ]; then
    echo "building $3"
    (cd "$folder" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$program.new" .)
    mv "$program.new" "$program"
  fi
  ln -sfn "$program" "$links/$name"
}

# `cksum` is in POSIX, unlike the sha256 programs, and nothing here defends against anybody.
hash_of() {
  cat "$@" | cksum | tr -d ' '
}

main
