#!/usr/bin/env bash
# Demonstrates the operator on a real API server: starts a control plane on loopback, installs the CRDs, runs the operator,
# applies examples/ and shows the results. Then it cleans up; with KEEP=1, everything keeps running until Ctrl-C.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

title() {
  printf '\n\033[1m%s\033[0m\n' "$*"
}

# Shows a command and runs it.
show() {
  printf '\n$ %s\n' "$*"
  "$@"
}

assets=$(hack/controlplane.sh)
say "building the operator (the first time takes about 5 minutes on two cores)"
cargo build --workspace --quiet
bin=${CARGO_TARGET_DIR:-$root/target}/debug

work=$(mktemp -d "${TMPDIR:-/tmp}/keypair-demo.XXXXXX")
control_plane=''
operator=''
finish() {
  trap - EXIT INT TERM HUP
  [ -z "$operator" ] || kill "$operator" 2>/dev/null || true
  # The control plane stops its servers when its standard input is closed, however this script ends.
  exec 9>&-
  [ -z "$operator" ] || wait "$operator" 2>/dev/null || true
  [ -z "$control_plane" ] || wait "$control_plane" 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkfifo "$work/hold"
"$bin/control-plane" --assets "$assets" <"$work/hold" >"$work/ready.json" 9>&- &
control_plane=$!
exec 9>"$work/hold"
until [ -s "$work/ready.json" ]; do
  kill -0 "$control_plane" 2>/dev/null || die "the control plane did not start; its output is above"
  sleep 0.2
done
KUBECONFIG=$(sed 's/.*"kubeconfig":"\([^"]*\)".*/\1/' "$work/ready.json")
export KUBECONFIG
PATH=$assets:$PATH

title "Install the CRDs and run the operator"
show kubectl apply --server-side -f crds/
show kubectl wait --for=condition=Established -f crds/ --timeout=60s
printf '\n$ keypair-operator run &\n'
"$bin/keypair-operator" run 9>&- 2>"$work/operator.log" &
operator=$!

title "Apply the examples: imported and generated key pairs of every profile"
show kubectl apply -f examples/
show kubectl wait --for=condition=Ready keypair --all --timeout=120s >/dev/null || {
  kubectl get keypairs
  cat "$work/operator.log" >&2
  die "not every key pair became Ready: see READY and REASON above, and the operator's log"
}
show kubectl get keypairs

title "The private key of a generated key pair is in a Secret"
show kubectl get secrets
printf '\n$ %s\n' "kubectl get secret minimal -o jsonpath='{.data.ssh-privatekey}' | base64 -d | head -n 2"
kubectl get secret minimal -o jsonpath='{.data.ssh-privatekey}' | base64 -d | sed -n 1,2p

title "The public keys are where sshd and ssh read them"
show kubectl wait --for=condition=Ready authorizedkeys,knownhosts --all --timeout=60s >/dev/null
show kubectl get authorizedkeys,knownhosts
printf '\n$ %s\n' "kubectl get configmap admins -o jsonpath='{.data.authorized_keys}'"
kubectl get configmap admins -o jsonpath='{.data.authorized_keys}'
printf '\n$ %s\n' "kubectl get configmap hosts -o jsonpath='{.data.known_hosts}'"
kubectl get configmap hosts -o jsonpath='{.data.known_hosts}'

title "The API server rejects a mistake, with the error code and message of the profile's cloud"
printf '\n$ kubectl apply -f - <<EOF\n'
cat <<'MANIFEST' | tee "$work/refused.yaml"
apiVersion: keypairs.dev/v1alpha1
kind: KeyPair
metadata:
  name: refused
spec:
  profile: Volcengine
  keyPairName: web..1
MANIFEST
echo EOF
kubectl apply -f "$work/refused.yaml" 2>&1 || true

title "The status reports a mistake that only the operator can detect"
printf '\n$ kubectl apply -f - <<EOF\n'
cat <<'MANIFEST' | tee "$work/broken.yaml"
apiVersion: keypairs.dev/v1alpha1
kind: KeyPair
metadata:
  name: broken
spec:
  publicKey: ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDn
MANIFEST
echo EOF
kubectl apply -f "$work/broken.yaml"
kubectl wait --for=condition=Stalled keypair/broken --timeout=60s >/dev/null
show kubectl get keypair broken
printf '\n$ %s\n' "kubectl get keypair broken -o jsonpath='{.status.error}'"
kubectl get keypair broken -o jsonpath='{.status.error}{"\n"}'

if [ -n "${KEEP:-}" ]; then
  title "Everything keeps running until Ctrl-C. In another terminal:"
  # shellcheck disable=SC2016 # $PATH is for the other terminal's shell
  printf 'export KUBECONFIG=%s PATH=%s:$PATH\nkubectl get keypairs\n' "$KUBECONFIG" "$assets"
  wait "$operator"
fi
