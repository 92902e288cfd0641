#!/usr/bin/env bash
# Prints the path of helm, and builds it from source first if necessary.
#
#   HELM           path of an existing helm, which is printed instead
#   KEYPAIR_CACHE  where to store the build; default: ~/.cache/keypair-operator (XDG_CACHE_HOME is respected)
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead HELM

require go https://go.dev/dl
version=v4.3.1
flags=(-trimpath -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=$version")
export GOWORK=off

build() {
  say "building helm $version into $entry"
  say "this takes about 4 minutes on two cores; later runs reuse the build"
  GOBIN=$1 watch_build go install -v "${flags[@]}" "helm.sh/helm/v4/cmd/helm@$version"
}

key=$({ go version && echo "$version ${flags[*]}"; } | fingerprint)
build_once "helm-$key" build
echo "$entry/helm"
