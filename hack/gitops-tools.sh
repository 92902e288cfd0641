#!/usr/bin/env bash
# Prints the path of a program that runs the libraries of GitOps tools (Argo CD's engine, kstatus), and builds it from
# tests/gitops-tools first if necessary.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead GITOPS_TOOLS

require go https://go.dev/dl
cd "$root/tests/gitops-tools"
export GOWORK=off

build() {
  say "building Argo CD's engine into $entry"
  say "this takes half a minute after the control plane, with which it shares most packages, otherwise some minutes; later runs reuse the build"
  watch_build go build -v -trimpath -buildvcs=false -ldflags "-s -w" -o "$1/gitops-tools" .
}

key=$({ cat ./*.go go.mod go.sum "$root/hack/gitops-tools.sh" && go version; } | fingerprint)
build_once "gitops-tools-$key" build
echo "$entry/gitops-tools"
