#!/usr/bin/env bash
# Prints the path of cargo-deny, after building it from its sources if that has not been done yet.
#
#   CARGO_DENY     a cargo-deny to use instead: its path is printed and nothing is built
#   KEYPAIR_CACHE  where to keep the build, by default ~/.cache/keypair-operator (XDG_CACHE_HOME is respected)
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead CARGO_DENY

require cargo https://rustup.rs
version=0.20.2

build() {
  say "building cargo-deny $version into $entry"
  say "this takes about 5 minutes on two cores, only this once"
  watch_build cargo install --locked --version "$version" --root "$1" --target-dir "$1/target" cargo-deny
  rm -rf "$1/target"
}

key=$({ rustc --version && echo "$version"; } | fingerprint)
build_once "cargo-deny-$key" build
echo "$entry/bin/cargo-deny"
