#!/usr/bin/env bash
# Prints the path of a tool for Cargo, and builds it from source first if necessary:
# hack/cargo-tool.sh cargo-deny
#
#   CARGO_DENY, CARGO_CYCLONEDX, CARGO_FUZZ, ZIZMOR  path of an existing tool, which is printed instead
#   KEYPAIR_CACHE  where to store the build; default: ~/.cache/keypair-operator (XDG_CACHE_HOME is respected)
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tool=${1:?usage: hack/cargo-tool.sh TOOL}
case $tool in
  cargo-deny) version=0.20.2 ;;
  cargo-cyclonedx) version=0.5.9 ;;
  cargo-fuzz) version=0.13.2 ;;
  zizmor) version=1.26.1 ;;
  *) die "unknown tool $tool: add its version to hack/cargo-tool.sh" ;;
esac

use_instead "$(echo "$tool" | tr 'a-z-' 'A-Z_')"

require cargo https://rustup.rs

build() {
  say "building $tool $version into $entry"
  say "this takes about 2 minutes on two cores; later runs reuse the build"
  # Not optimized: compiling takes longer than all runs.
  watch_build cargo install --debug --locked --version "$version" --root "$1" --target-dir "$1/target" "$tool"
  rm -rf "$1/target"
}

key=$({ rustc --version && echo "$version"; } | fingerprint)
build_once "$tool-$key" build
echo "$entry/bin/$tool"
