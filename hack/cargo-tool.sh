#!/usr/bin/env bash
# Prints the path of a tool for Cargo, after building it from its sources if that has not been done yet:
# hack/cargo-tool.sh cargo-deny
#
#   CARGO_DENY, CARGO_CYCLONEDX, CARGO_FUZZ  one to use instead: its path is printed and nothing is built
#   KEYPAIR_CACHE  where to keep the build, by default ~/.cache/keypair-operator (XDG_CACHE_HOME is respected)
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tool=${1:?usage: hack/cargo-tool.sh TOOL}
case $tool in
  cargo-deny) version=0.20.2 ;;
  cargo-cyclonedx) version=0.5.9 ;;
  cargo-fuzz) version=0.13.2 ;;
  *) die "there is no version of $tool here" ;;
esac

use_instead "$(echo "$tool" | tr 'a-z-' 'A-Z_')"

require cargo https://rustup.rs

build() {
  say "building $tool $version into $entry"
  say "this takes about 2 minutes on two cores, only this once"
  # Not optimized: compiling it costs more than it ever runs.
  watch_build cargo install --debug --locked --version "$version" --root "$1" --target-dir "$1/target" "$tool"
  rm -rf "$1/target"
}

key=$({ rustc --version && echo "$version"; } | fingerprint)
build_once "$tool-$key" build
echo "$entry/bin/$tool"
