#!/usr/bin/env bash
# Makes sure that the tools are there that put an image together (umoci), copy it (skopeo) and run it (runc). On Debian and
# Ubuntu it installs what is missing, as root or with a sudo that asks no password; elsewhere it says what to install.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The packages have the names of the tools.
tools=(umoci runc skopeo)
wanted=$(missing "${tools[@]}")
if [ -n "$wanted" ] && can_install; then
  # shellcheck disable=SC2086 # one word for each
  install_packages $wanted || say "apt-get did not succeed"
  wanted=$(missing "${tools[@]}")
fi
[ -z "$wanted" ] || die "missing: $wanted; install them with the packages of your system"
