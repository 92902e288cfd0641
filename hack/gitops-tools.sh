#!/usr/bin/env bash
# Prints the path of a program that does and says what GitOps tools do and say (Argo CD's engine, kstatus), after building it
# from tests/gitops-tools if that has not been done yet.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead GITOPS_TOOLS

require go https://go.dev/dl
cd "$root/tests/gitops-tools"
export GOWORK=off

build() {
  say "building Argo CD's engine into $entry"
  say "this takes half a minute after the control plane, which shares most of it, and some minutes without; only this once"
  watch_build go build -v -trimpath -buildvcs=false -ldflags "-s -w" -o "$1/gitops-tools" .
}

key=$({ cat ./*.go go.mod go.sum "$root/hack/gitops-tools.sh" && go version; } | fingerprint)
build_once "gitops-tools-$key" build
echo "$entry/gitops-tools"
