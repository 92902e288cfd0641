#!/usr/bin/env bash
# Checks for the independent tools with which the tests check the operator: ssh, sftp, sshd, ssh-keygen and openssl for keys,
# prometheus and promtool for metrics, jq for the commands of the documentation. On Debian and Ubuntu it installs missing tools, as root or with a sudo that needs no
# password; on other systems it says what to install. It starts no service, neither now nor at boot: the tests run their own sshd
# and their own Prometheus.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# sshd is usually outside the PATH of ordinary users.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

tools=(ssh sftp ssh-keygen sshd openssl prometheus promtool jq)

# Package scripts call /usr/sbin/policy-rc.d before they start a service; exit code 101 forbids it.
policy=/usr/sbin/policy-rc.d

forbid_services() {
  if [ -e "$policy" ] || [ -L "$policy" ]; then
    as_root mv "$policy" "$policy.keypair-operator"
  fi
  trap 'allow_services' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
}

allow_services() {
  as_root rm -f "$policy"
  if [ -e "$policy.keypair-operator" ] || [ -L "$policy.keypair-operator" ]; then
    as_root mv "$policy.keypair-operator" "$policy"
  fi
  trap - EXIT INT TERM HUP
}

install_on_debian() {
  local tool packages=()
  for tool in $1; do
    case $tool in
      ssh | sftp | ssh-keygen) packages+=(openssh-client) ;;
      sshd) packages+=(openssh-server) ;;
      openssl) packages+=(openssl) ;;
      jq) packages+=(jq) ;;
      prometheus | promtool) packages+=(prometheus) ;;
    esac
  done
  forbid_services
  install_packages "${packages[@]}"
  allow_services
  # Only if this script has installed them; otherwise somebody may want them to run.
  case $1 in *sshd*) disable ssh.service ssh.socket ;; esac
  case $1 in *prometheus*) disable prometheus.service ;; esac
}

disable() {
  if command -v systemctl >/dev/null; then
    as_root systemctl --quiet disable "$@" 2>/dev/null || true
  fi
}

wanted=$(missing "${tools[@]}")
if [ -n "$wanted" ] && can_install; then
  install_on_debian "$wanted" || say "apt-get failed"
  wanted=$(missing "${tools[@]}")
fi
if [ -n "$wanted" ]; then
  say "missing: $wanted"
  say "  Debian, Ubuntu   apt-get install openssh-client openssh-server openssl prometheus   (as root)"
  say "  Fedora           dnf install openssh-clients openssh-server openssl prometheus"
  say "  Alpine           apk add openssh openssl prometheus"
  say "  Arch             pacman -S openssh openssl prometheus"
  say "  macOS            has ssh, sftp, sshd and ssh-keygen; brew install openssl prometheus"
  exit 1
fi

# Debian's sshd, as root, needs this directory, which otherwise only its service creates.
if [ "$(id -u)" -eq 0 ] && [ -e /etc/debian_version ]; then
  mkdir -p /run/sshd
fi
