#!/usr/bin/env bash
# Runs the program for another architecture with an emulator: hack/foreign-test.sh arm64 PROGRAM
# Without PROGRAM it compiles the unit tests for that architecture, and runs them: hack/foreign-test.sh arm64
#
# What differs between architectures is the arithmetic of keys: the program reads, checks and fingerprints them all, the unit
# tests generate them, too.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

case ${1:?usage: hack/foreign-test.sh ARCHITECTURE [PROGRAM]} in
  arm64) target=aarch64-unknown-linux-gnu ;;
  amd64) target=x86_64-unknown-linux-gnu ;;
  *) die "there is no emulator here for $1" ;;
esac
program=${2:-}
emulator=qemu-${target%%-*}-static
if [ -n "$(missing "$emulator")" ]; then
  can_install || die "missing: $emulator; install it with the packages of your system"
  install_packages qemu-user-static
fi

if [ -z "$program" ]; then
  say "compiling the unit tests for $1, which takes some minutes, and running them by $emulator"
  eval "$(hack/foreign-target.sh "$target")"
  # Static, since the emulator does not get along with the threads of every C library that it would load.
  RUSTFLAGS=$(static_flags)
  export RUSTFLAGS
  # Optimized as the image is, of which everything else has been compiled then.
  cargo test --release --locked --target "$target" --config "target.$target.runner = '$emulator'" --lib
  exit
fi

say "the program for $1, run by $emulator, says what this machine's says"
cargo build --quiet --workspace
ours=${CARGO_TARGET_DIR:-target}/debug/keypair-operator
[ "$("$emulator" "$program" --version)" = "$("$ours" --version)" ] || die "it says another version"
[ "$("$emulator" "$program" crd)" = "$("$ours" crd)" ] || die "it says another CRD"
"$emulator" "$program" lint examples/*.yaml >/dev/null || die "it refuses what this machine's accepts"
for key in tests/vectors/public/*.pub; do
  [ "$("$emulator" "$program" fingerprint "$key" 2>&1)" = "$("$ours" fingerprint "$key" 2>&1)" ] || die "it says another fingerprint of $key"
done
