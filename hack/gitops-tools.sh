#!/usr/bin/env bash
# Prints the path of a program that runs the libraries of GitOps tools (Argo CD's engine, kstatus), and builds it from
# tests/gitops-tools first if necessary.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead GITOPS_TOOLS

build_go_program gitops-tools "Argo CD's engine" "half a minute"
