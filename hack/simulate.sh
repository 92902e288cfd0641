#!/usr/bin/env bash
# Runs the operator through histories that are drawn from seeds, against a simulated API server.
#   HISTORIES  how many (3000)
#   SEED       of the first; that of the next is greater by one (drawn, and printed)
#   PROFILE    how the operator is built (simulation: optimised; dev: as for the tests, of use for few histories)
# A violation is shortened and printed with how to repeat it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
echo "histories from seed $seed"
exec cargo run --quiet -p keypair-simulation --profile "${PROFILE:-simulation}" -- \
  --histories "${HISTORIES:-3000}" --seed "$seed" --threads "$(nproc)" "$@"
