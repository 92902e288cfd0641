#!/usr/bin/env bash
# Checks every shell script of the repository with ShellCheck. On Debian and Ubuntu it installs ShellCheck if it is missing, as
# root or with a sudo that asks no password; elsewhere it says what to install.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

if [ -n "$(missing shellcheck)" ] && can_install; then
  install_packages shellcheck || say "apt-get did not succeed"
fi
require shellcheck https://www.shellcheck.net
git ls-files -z --cached --others --exclude-standard -- '*.sh' .ci/run | xargs -0 shellcheck
