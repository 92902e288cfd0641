#!/usr/bin/env bash
# Runs the program for another architecture with an emulator: hack/foreign-test.sh arm64 PROGRAM
#
# What differs between architectures is the arithmetic of keys: it reads, checks and fingerprints them all.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

case ${1:?usage: hack/foreign-test.sh ARCHITECTURE PROGRAM} in
  arm64) emulator=qemu-aarch64-static ;;
  amd64) emulator=qemu-x86_64-static ;;
  *) die "there is no emulator here for $1" ;;
esac
program=$2
if [ -n "$(missing "$emulator")" ]; then
  can_install || die "missing: $emulator; install it with the packages of your system"
  install_packages qemu-user-static
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
