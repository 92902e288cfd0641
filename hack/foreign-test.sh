#!/usr/bin/env bash
# Tests a program for another architecture in an emulator: hack/foreign-test.sh arm64 PROGRAM
# PROGRAMS names the directory of this machine's program, if it has been built.
# Without PROGRAM, it compiles the unit tests for that architecture, and runs them: hack/foreign-test.sh arm64
#
# Architectures differ in the arithmetic of keys: the program reads, checks and fingerprints all of them, and the unit tests also
# generate keys.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

case ${1:?usage: hack/foreign-test.sh ARCHITECTURE [PROGRAM]} in
  arm64) target=aarch64-unknown-linux-gnu ;;
  amd64) target=x86_64-unknown-linux-gnu ;;
  *) die "unsupported architecture $1: use arm64 or amd64" ;;
esac
program=${2:-}
emulator=qemu-${target%%-*}-static
if [ -n "$(missing "$emulator")" ]; then
  can_install || die "missing: $emulator; install it with your package manager"
  install_packages qemu-user-static
fi

if [ -z "$program" ]; then
  say "compiling the unit tests for $1, which takes some minutes, and running them in $emulator"
  eval "$(hack/foreign-target.sh "$target")"
  # Static, since the emulator does not support the threads of every C library.
  RUSTFLAGS=$(static_flags)
  export RUSTFLAGS
  # With the profile of the image, to reuse its build of the dependencies.
  cargo test --release --locked --target "$target" --config "target.$target.runner = '$emulator'" --lib
  exit
fi

say "comparing the output of the program for $1, in $emulator, with that of this machine's program"
[ -n "${PROGRAMS:-}" ] || cargo build --quiet
ours=${PROGRAMS:-${CARGO_TARGET_DIR:-target}/debug}/keypair-operator
[ "$("$emulator" "$program" --version)" = "$("$ours" --version)" ] || die "$program --version differs"
[ "$("$emulator" "$program" crd)" = "$("$ours" crd)" ] || die "$program crd differs"
"$emulator" "$program" lint examples/*.yaml >/dev/null || die "$program lint rejects examples that this machine's program accepts"
for key in tests/vectors/public/*.pub; do
  [ "$("$emulator" "$program" fingerprint "$key" 2>&1)" = "$("$ours" fingerprint "$key" 2>&1)" ] || die "$program fingerprint $key differs"
done
