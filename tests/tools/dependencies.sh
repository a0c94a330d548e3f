#!/usr/bin/env bash
# Holds the dependencies to deny.toml with cargo-deny, which is built once into the cache folder when it is not there.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=0.20.2
root="${XDG_CACHE_HOME:-$HOME/.cache}/vestibule/cargo-deny-$version"
deny="$root/bin/cargo-deny"

main() {
  [ -x "$deny" ] || install
  "$deny" --locked check bans licenses sources

  # The advisories come from a repository that not every network reaches; everything else is in the lock file.
  if GIT_HTTP_LOW_SPEED_LIMIT=1000 GIT_HTTP_LOW_SPEED_TIME=20 "$deny" fetch db >/dev/null 2>&1; then
    "$deny" --locked check advisories
  else
    echo "advisories: not checked, the advisory database cannot be reached"
    tests/tools/skips add lint advisories "the advisory database cannot be reached"
  fi
}

install() {
  echo "building cargo-deny $version (a few minutes, once)"
  # Quick to build rather than quick to run: it runs for a second.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
    CARGO_TARGET_DIR="$root/build" cargo install --quiet --locked cargo-deny --version "$version" --root "$root"
  rm -rf "$root/build"
}

main
