#!/usr/bin/env bash
# Runs the operator through random histories against a simulated API server.
#   HISTORIES  number of histories (3000)
#   SEED       seed of the first history, printed at the start; each further history has the next seed (random)
#   PROFILE    build profile: simulation is optimized; dev is that of the tests, and suffices for few histories (simulation)
#   PROGRAMS   directory of a program that has been built, to run instead of building one
# Shortens a history that breaks a guarantee, and prints how to repeat it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
echo "histories from seed $seed"
program=(cargo run --quiet -p keypair-simulation --profile "${PROFILE:-simulation}" --)
[ -z "${PROGRAMS:-}" ] || program=("$PROGRAMS/keypair-simulation")
exec "${program[@]}" --histories "${HISTORIES:-3000}" --seed "$seed" --threads "$(nproc)" "$@"
