#!/usr/bin/env bash
# Prints the path of actionlint, which checks GitHub Actions workflows, after building it from its sources if that has not been
# done yet.
#
#   ACTIONLINT     one to use instead: its path is printed and nothing is built
#   KEYPAIR_CACHE  where to keep the build, by default ~/.cache/keypair-operator (XDG_CACHE_HOME is respected)
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead ACTIONLINT

require go https://go.dev/dl
version=v1.7.12
export GOWORK=off

build() {
  say "building actionlint $version into $entry"
  say "this takes a few seconds, only this once"
  GOBIN=$1 watch_build go install -v -trimpath "github.com/rhysd/actionlint/cmd/actionlint@$version"
}

key=$({ go version && echo "$version"; } | fingerprint)
build_once "actionlint-$key" build
echo "$entry/actionlint"
