#!/usr/bin/env bash
# Demonstrates the operator on a real API server, in one screen: starts a control plane on loopback, installs the CRDs, runs the operator,
# and shows an import, a generated key pair, a refused mistake, a rotation that an AuthorizedKeys follows, and a login with
# `kubectl keypair ssh` to an sshd on loopback. Then it cleans up.
#   KEEP      if set, everything keeps running until Ctrl-C
#   PROGRAMS  directory of the programs, if they have been built
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

# Colors on a terminal, and for the recording, which reads a pipe.
bold='' plain=''
if [ -t 1 ] || [ -n "${CLICOLOR_FORCE:-}" ]; then
  bold=$'\033[1m' plain=$'\033[0m'
fi

title() {
  printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

# Shows a command line of a user and runs it.
run() {
  printf '%s$ %s%s\n' "$bold" "$1" "$plain"
  eval "$1" 2>&1 | wrap
}

# Breaks lines between words, at the width of the screen that the demo fits on.
wrap() {
  local line part columns=110
  while IFS= read -r line; do
    while [ "${#line}" -gt "$columns" ]; do
      part=${line:0:columns}
      part=${part% *}
      echo "$part"
      line=${line:${#part}}
      line="  ${line# }"
    done
    echo "$line"
  done
}

assets=$(hack/controlplane.sh)
if [ -n "${PROGRAMS:-}" ]; then
  bin=$(cd "$PROGRAMS" && pwd)
else
  say "building the operator (the first time takes about 5 minutes on two cores)"
  cargo build --workspace --quiet
  bin=$(cd "${CARGO_TARGET_DIR:-$root/target}/debug" && pwd)
fi
SECONDS=0

# sshd must be called by its path, which is usually outside the PATH of ordinary users.
find_sshd() {
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v sshd || true
}

ssh_tools=(ssh ssh-agent ssh-add ssh-keygen)
if [ -z "$(find_sshd)" ] || [ -n "$(missing "${ssh_tools[@]}")" ]; then
  # It fails as well if it cannot install what only the tests need.
  hack/test-tools.sh >&2 || true
fi
sshd_program=$(find_sshd)
if [ -z "$sshd_program" ] || [ -n "$(missing "${ssh_tools[@]}")" ]; then
  die "install OpenSSH: the demo needs sshd ${ssh_tools[*]}"
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/keypair-demo.XXXXXX")
control_plane='' operator='' sshd='' shown=''
finish() {
  local status=$?
  trap - EXIT INT TERM HUP
  # A step that fails before the end has printed why; the operator's log may say more.
  if [ "$status" -ne 0 ] && [ "$status" -lt 128 ] && [ -z "$shown" ] && [ -s "$work/operator.log" ]; then
    say "the demo failed; the end of the operator's log:"
    tail -n 20 "$work/operator.log" >&2
  fi
  [ -z "$sshd" ] || kill "$sshd" 2>/dev/null || true
  [ -z "$operator" ] || kill "$operator" 2>/dev/null || true
  # The control plane stops its servers when its standard input is closed, however this script ends.
  exec 9>&-
  [ -z "$sshd" ] || wait "$sshd" 2>/dev/null || true
  [ -z "$operator" ] || wait "$operator" 2>/dev/null || true
  [ -z "$control_plane" ] || wait "$control_plane" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# An sshd on a free port of loopback, which reads the authorized keys from a file beside the other files of the demo.
start_sshd() {
  local port log=$work/sshd.log
  # Debian's sshd, as root, needs this directory, which otherwise only its service creates.
  if [ "$(id -u)" -eq 0 ] && [ -e /etc/debian_version ]; then
    mkdir -p /run/sshd
  fi
  ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
  while :; do
    port=$((20000 + RANDOM % 20000))
    cat >"$work/sshd_config" <<CONFIG
ListenAddress 127.0.0.1:$port
HostKey $work/host_key
AuthorizedKeysFile $PWD/authorized_keys
AuthenticationMethods publickey
PermitRootLogin yes
PermitUserRC no
StrictModes no
UsePAM no
PidFile none
CONFIG
    "$sshd_program" -D -e -f "$work/sshd_config" 9>&- 2>"$log" &
    sshd=$!
    until grep -q 'Server listening' "$log"; do
      if ! kill -0 "$sshd" 2>/dev/null; then
        grep -q 'Address already in use' "$log" && continue 2
        cat "$log" >&2
        die "sshd did not start"
      fi
      sleep 0.1
    done
    break
  done
  # Without the configuration and the known hosts of whoever runs the demo.
  echo "[127.0.0.1]:$port $(cat "$work/host_key.pub")" >"$work/known_hosts"
  cat >ssh_config <<CONFIG
Host server
  HostName 127.0.0.1
  Port $port
  User $(id -un)
  UserKnownHostsFile $work/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
CONFIG
}

mkfifo "$work/hold"
"$bin/control-plane" --assets "$assets" <"$work/hold" >"$work/ready.json" 9>&- &
control_plane=$!
exec 9>"$work/hold"
until [ -s "$work/ready.json" ]; do
  kill -0 "$control_plane" 2>/dev/null || die "the control plane did not start; its output is above"
  sleep 0.2
done

# A directory for the commands that the demo shows, which have no paths; the demo has a namespace to itself.
mkdir "$work/bin" "$work/desk"
ln -s "$assets/kubectl" "$work/bin/kubectl"
ln -s "$bin/keypair-operator" "$work/bin/kubectl-keypair"
cp "$(sed 's/.*"kubeconfig":"\([^"]*\)".*/\1/' "$work/ready.json")" "$work/kubeconfig"
PATH=$work/bin:$PATH
export KUBECONFIG=$work/kubeconfig

echo "keypair-operator with a real Kubernetes API server and a real sshd, both on loopback:"
printf '%s$ %s%s\n' "$bold" "kubectl apply --server-side -f crds/ && keypair-operator run &" "$plain"
kubectl apply --server-side -f crds/ >/dev/null
kubectl wait --for=condition=Established -f crds/ --timeout=60s >/dev/null
"$bin/keypair-operator" run 9>&- 2>"$work/operator.log" &
operator=$!
kubectl create namespace demo >/dev/null
KUBECONFIG=$work/demo-kubeconfig
cp "$work/kubeconfig" "$KUBECONFIG"
kubectl config set-context --current --namespace demo >/dev/null
cd "$work/desk"
ssh-keygen -q -t ed25519 -N '' -C ann@example.com -f "$work/ann"
cp "$work/ann.pub" .
start_sshd

title "1. Import Ann's public key, and generate a key pair: its private key is in a Secret"
run "kubectl keypair create ann --profile OpenSSH --import ann.pub"
run "kubectl keypair create robot --profile OpenSSH --algorithm Ed25519 --wait >robot.pub"
run "kubectl get keypairs"

title "2. A mistake is refused at once, with the error code and message of a cloud, by default Alibaba Cloud"
if run "kubectl keypair create web --bits 1024"; then
  die "the mistake was not refused"
fi

title "3. An AuthorizedKeys keeps the public keys where sshd reads them"
cat >"admins.yaml" <<'MANIFEST'
apiVersion: keypairs.dev/v1alpha1
kind: AuthorizedKeys
metadata: {name: admins}
spec: {entries: [{selector: {}}]}
MANIFEST
run "cat admins.yaml && kubectl apply -f admins.yaml"
kubectl wait --for=condition=Ready authorizedkeys/admins --timeout=60s >/dev/null
show_keys="kubectl get configmap admins -o jsonpath='{.data.authorized_keys}' | tee authorized_keys"
run "$show_keys"
run "kubectl keypair ssh robot server -- -F ssh_config echo logged in"

title "4. Rotate the key: the next one becomes current when it is published. The AuthorizedKeys follows"
rotation='{"spec":{"rotation":{"publishBefore":"2s","keepAfter":"1h"}}}'
run "kubectl patch keypair robot --type merge -p '$rotation'"
run "kubectl keypair rotate robot --wait >robot.pub"
run "$show_keys"
run "kubectl keypair ssh robot server -- -F ssh_config echo logged in with the new key"
shown=yes
if [ -z "${KEEP:-}" ]; then
  title "Done in $SECONDS s: imported, generated, refused, published, rotated, and logged in before and after"
else
  title "Everything keeps running until Ctrl-C. In another terminal:"
  # shellcheck disable=SC2016 # $PATH is for the other terminal's shell
  printf 'export KUBECONFIG=%s PATH=%s:$PATH\n' "$work/kubeconfig" "$work/bin"
  echo "kubectl get keypairs -n demo"
  echo "kubectl keypair -n demo ssh robot server -- -F $PWD/ssh_config"
  wait "$operator"
fi
