#!/usr/bin/env bash
# Prints what to add to the environment of Cargo so that it compiles for a target other than this machine's:
# hack/foreign-target.sh aarch64-unknown-linux-gnu
#
# The linker and the C library are those of Debian and Ubuntu; elsewhere it says what to install. Rust's standard library for
# the target is rustup's; where that cannot be had, it is that of the distribution, with the distribution's compiler.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

target=${1:?usage: hack/foreign-target.sh TARGET, such as aarch64-unknown-linux-gnu}
case $target in
  aarch64-unknown-linux-gnu) architecture=arm64 packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
  x86_64-unknown-linux-gnu) architecture=amd64 packages="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;;
  *) die "images are built for aarch64 and x86_64, not for $target" ;;
esac
gcc=${target%%-*}-linux-gnu-gcc

# has_std COMPILER
has_std() {
  local directory
  directory=$("$1" --print target-libdir --target "$target" 2>/dev/null) && ls "$directory"/libstd-*.rlib >/dev/null 2>&1
}

if [ -n "$(missing "$gcc")" ]; then
  can_install || die "missing: $gcc, a C compiler for $target, and its C library; install them with the packages of your system"
  # shellcheck disable=SC2086 # one word for each
  install_packages $packages
fi

compiler=rustc
if ! has_std "$compiler" && [ -n "$(command -v rustup)" ]; then
  say "fetching Rust's standard library for $target"
  timeout 120 rustup --quiet target add "$target" >&2 || say "rustup did not succeed"
fi
if ! has_std "$compiler"; then
  compiler=/usr/bin/rustc
  if ! has_std "$compiler"; then
    can_install || die "no standard library of Rust for $target: rustup target add $target"
    as_root dpkg --add-architecture "$architecture"
    # Debian keeps one compiler up to date in its stable releases, for browsers.
    install_packages rustc-web libstd-rust-web-dev libstd-rust-web-dev:"$architecture"
  fi
  has_std "$compiler" || die "the distribution's $("$compiler" --version) has no standard library for $target"
  say "compiling with the distribution's $("$compiler" --version)"
  echo "export RUSTC=$compiler"
fi
variable=$(echo "$target" | tr 'a-z-' 'A-Z_')
echo "export CARGO_TARGET_${variable}_LINKER=$gcc"
