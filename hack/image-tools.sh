#!/usr/bin/env bash
# Makes sure that the tools are there that put an image together (umoci) and run it (runc). On Debian and Ubuntu it installs
# what is missing, as root or with a sudo that asks no password; elsewhere it says what to install.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

missing() {
  local tool
  for tool in umoci runc; do
    command -v "$tool" >/dev/null || printf '%s ' "$tool"
  done
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo -n "$@"
  fi
}

wanted=$(missing)
if [ -n "$wanted" ] && command -v apt-get >/dev/null && as_root true 2>/dev/null; then
  say "installing $wanted"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  # shellcheck disable=SC2086 # one word for each
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >&2 ||
    say "apt-get did not succeed"
  wanted=$(missing)
fi
[ -z "$wanted" ] || die "missing: $wanted; install umoci and runc with the packages of your system"
