#!/usr/bin/env bash
# Prints the path of a program that tells what the validation rules of a CRD cost the API server, and builds it from tests/cel-cost
# first if necessary.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead CEL_COST

require go https://go.dev/dl
cd "$root/tests/cel-cost"
export GOWORK=off

build() {
  say "building the rule evaluator of the API server into $entry"
  say "this takes seconds after the control plane, with which it shares most packages, otherwise some minutes; later runs reuse the build"
  watch_build go build -v -trimpath -buildvcs=false -ldflags "-s -w" -o "$1/cel-cost" .
}

key=$({ cat ./*.go go.mod go.sum "$root/hack/cel-cost.sh" && go version; } | fingerprint)
build_once "cel-cost-$key" build
echo "$entry/cel-cost"
