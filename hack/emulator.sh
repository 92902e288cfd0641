#!/usr/bin/env bash
# Prints the emulator that runs programs for another architecture: hack/emulator.sh arm64
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:?usage: hack/emulator.sh ARCHITECTURE} in
  arm64) emulator=qemu-aarch64-static ;;
  amd64) emulator=qemu-x86_64-static ;;
  *) die "there is no emulator here for $1" ;;
esac
if [ -n "$(missing "$emulator")" ]; then
  can_install || die "missing: $emulator; install it with the packages of your system"
  install_packages qemu-user-static
fi
echo "$emulator"
