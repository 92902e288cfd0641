#!/usr/bin/env bash
# Checks `rust-version` in Cargo.toml, the oldest compiler that builds the operator: no dependency may need a newer one. If rustup
# has a toolchain of that version, the workspace is compiled with it as well.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

require cargo https://rustup.rs
minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# One line for each package: name, version and the compiler it needs.
packages=$(cargo metadata --locked --all-features --format-version 1 |
  sed 's/{"name":"\([^"]*\)","version":"\([^"]*\)","id":"/\
\1 \2 /g' |
  sed -n 's/^\([^ ]*\) \([^ ]*\) .*"rust_version":"\([^"]*\)".*/\1 \2 \3/p')
grep -q "^keypair-operator [^ ]* $minimum\$" <<<"$packages" ||
  die "keypair-operator is not among the packages of cargo metadata with rust-version $minimum"
newer=$(awk -v minimum="$minimum" '
  function number(version,  part) { split(version, part, "."); return part[1] * 1000000 + part[2] * 1000 + part[3] }
  number($3) > number(minimum) { printf "  %s %s needs Rust %s\n", $1, $2, $3 }' <<<"$packages")
[ -z "$newer" ] || die "rust-version is $minimum in Cargo.toml, but these dependencies need a newer compiler; raise it, or take older ones:
$newer"
say "none of $(wc -l <<<"$packages" | tr -d ' ') packages needs a compiler newer than Rust $minimum"

if [ -n "$(command -v rustup)" ] && rustup toolchain list | grep -q "^$minimum-"; then
  say "compiling with Rust $minimum"
  cargo "+$minimum" check --locked --workspace --target-dir "${CARGO_TARGET_DIR:-target}/msrv"
else
  say "not compiled with Rust $minimum, which is not installed: rustup toolchain install --profile minimal $minimum"
fi
