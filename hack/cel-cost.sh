#!/usr/bin/env bash
# Prints the path of a program that tells what the validation rules of a CRD cost the API server, and builds it from tests/cel-cost
# first if necessary.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

use_instead CEL_COST

build_go_program cel-cost "the rule evaluator of the API server" "seconds"
