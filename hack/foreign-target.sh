#!/usr/bin/env bash
# Prints the environment variables with which Cargo compiles for a target other than this machine's:
# hack/foreign-target.sh aarch64-unknown-linux-gnu
#
# It installs the linker and the C library on Debian and Ubuntu; on other systems it says what to install. Rust's standard library
# for the target comes from rustup, or, if that fails, from the distribution, together with the distribution's compiler.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

target=${1:?usage: hack/foreign-target.sh TARGET, such as aarch64-unknown-linux-gnu}
case $target in
  aarch64-unknown-linux-gnu) architecture=arm64 packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
  x86_64-unknown-linux-gnu) architecture=amd64 packages="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;;
  *) die "unsupported target $target: use aarch64-unknown-linux-gnu or x86_64-unknown-linux-gnu" ;;
esac
gcc=${target%%-*}-linux-gnu-gcc

# has_std COMPILER
has_std() {
  local directory
  directory=$("$1" --print target-libdir --target "$target" 2>/dev/null) && ls "$directory"/libstd-*.rlib >/dev/null 2>&1
}

if [ -n "$(missing "$gcc")" ]; then
  can_install || die "missing: $gcc, a C compiler for $target, and its C library; install them with your package manager"
  # shellcheck disable=SC2086 # one word for each package
  install_packages $packages
fi

compiler=rustc
if ! has_std "$compiler" && [ -n "$(command -v rustup)" ]; then
  say "fetching Rust's standard library for $target"
  timeout 120 rustup --quiet target add "$target" >&2 || say "rustup target add $target failed; trying the distribution's packages"
fi
if ! has_std "$compiler"; then
  compiler=/usr/bin/rustc
  if ! has_std "$compiler"; then
    can_install || die "Rust's standard library for $target is missing: run rustup target add $target"
    as_root dpkg --add-architecture "$architecture"
    # rustc-web is the compiler that Debian keeps up to date in stable releases, for browsers.
    install_packages rustc-web libstd-rust-web-dev libstd-rust-web-dev:"$architecture"
  fi
  has_std "$compiler" || die "the distribution's $("$compiler" --version) has no standard library for $target: install rustup"
  say "compiling with the distribution's $("$compiler" --version)"
  echo "export RUSTC=$compiler"
fi
variable=$(echo "$target" | tr 'a-z-' 'A-Z_')
echo "export CARGO_TARGET_${variable}_LINKER=$gcc"
