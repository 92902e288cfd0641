#!/usr/bin/env bash
# Prints the directory of a real Kubernetes control plane (etcd, kube-apiserver, kube-controller-manager, kubectl), in
# the layout that KUBEBUILDER_ASSETS expects, and builds it from tests/controlplane first if necessary.
#
#   KUBEBUILDER_ASSETS  an existing directory, which is printed instead
#   KEYPAIR_CACHE       where to store the build; default: ~/.cache/keypair-operator (XDG_CACHE_HOME is respected)
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead KUBEBUILDER_ASSETS

require go https://go.dev/dl
cd "$root/tests/controlplane"

# The linker sets the version that server and kubectl report, as in upstream's builds. An upgrade of the modules needs no
# other change.
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
flags=(
  -trimpath
  -buildvcs=false
  -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/client-go/pkg/version.gitVersion=$version"
)
# Ignore a go.work in a parent directory.
export GOWORK=off

build() {
  say "building the Kubernetes $version control plane into $entry"
  say "this takes about 12 minutes on two cores; later runs reuse the build"
  watch_build go build -v "${flags[@]}" -o "$1/controlplane" .
  local tool
  for tool in etcd kube-apiserver kube-controller-manager kubectl; do
    ln -s controlplane "$1/$tool"
  done
}

key=$({ cat main.go go.mod go.sum && go version && echo "${flags[@]}"; } | fingerprint)
build_once "controlplane-$key" build
echo "$entry"
