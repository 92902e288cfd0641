#!/usr/bin/env bash
# Prints the directory of a real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager, kubectl), in
# the layout that KUBEBUILDER_ASSETS expects, after building it from tests/controlplane if that has not been done yet.
#
#   KUBEBUILDER_ASSETS  a directory to use instead: it is printed and nothing is built
#   KEYPAIR_CACHE       where to keep the build, by default ~/.cache/keypair-operator (XDG_CACHE_HOME is respected)
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead KUBEBUILDER_ASSETS

require go https://go.dev/dl
cd "$root/tests/controlplane"

# The version that server and kubectl report is set by the linker, in upstream's builds too. There is no other place
# to change when the modules are upgraded.
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
flags=(
  -trimpath
  -buildvcs=false
  -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version"
)
# A go.work in a directory above is none of ours.
export GOWORK=off

build() {
  say "building the Kubernetes $version control plane into $entry"
  say "this takes about 12 minutes on two cores, only this once"
  watch_build go build -v "${flags[@]}" -o "$1/controlplane" .
  local tool
  for tool in etcd kube-apiserver kube-controller-manager kubectl; do
    ln -s controlplane "$1/$tool"
  done
}

key=$({ cat main.go go.mod go.sum && go version && echo "${flags[@]}"; } | fingerprint)
build_once "controlplane-$key" build
echo "$entry"
