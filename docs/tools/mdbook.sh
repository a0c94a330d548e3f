#!/usr/bin/env bash
# Builds the book from docs/ into target/book with mdBook, which is built once into the cache folder when it is not there.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=0.5.4
root="${XDG_CACHE_HOME:-$HOME/.cache}/vestibule/mdbook-$version"
mdbook="$root/bin/mdbook"

main() {
  [ -x "$mdbook" ] || install
  local log
  # Its warnings are faults of a page: what it cannot include or find.
  log="$("$mdbook" build docs 2>&1)" || { echo "$log" >&2; exit 1; }
  if grep -qE 'WARN|ERROR' <<<"$log"; then
    echo "$log" >&2
    exit 1
  fi
  echo "the book is in target/book/index.html"
}

install() {
  echo "building mdBook $version (about two minutes, once)"
  # Quick to build rather than quick to run: it runs for a second.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
    CARGO_TARGET_DIR="$root/build" cargo install --quiet --locked mdbook --version "$version" --no-default-features --features search --root "$root"
  rm -rf "$root/build"
}

main
