#!/usr/bin/env bash
# Checks for the tools that assemble an image (umoci), copy it (skopeo) and run it (runc). On Debian and Ubuntu it installs
# missing tools, as root or with a sudo that needs no password; on other systems it says what to install.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The packages have the same names as the tools.
tools=(umoci runc skopeo)
wanted=$(missing "${tools[@]}")
if [ -n "$wanted" ] && can_install; then
  # shellcheck disable=SC2086 # one word for each package
  install_packages $wanted || say "apt-get failed"
  wanted=$(missing "${tools[@]}")
fi
[ -z "$wanted" ] || die "missing: $wanted; install them with your package manager"
