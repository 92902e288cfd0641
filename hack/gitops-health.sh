#!/usr/bin/env bash
# Prints the path of a program that says of objects what GitOps tools say of them (kstatus, Argo CD's health scripts), after
# building it from tests/gitops-health if that has not been done yet.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead GITOPS_HEALTH

require go https://go.dev/dl
cd "$root/tests/gitops-health"
export GOWORK=off

build() {
  say "building a program for the health of objects into $entry"
  say "this takes about a minute, only this once"
  watch_build go build -v -trimpath -buildvcs=false -o "$1/gitops-health" .
}

key=$({ cat main.go go.mod go.sum && go version; } | fingerprint)
build_once "gitops-health-$key" build
echo "$entry/gitops-health"
