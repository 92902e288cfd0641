#!/usr/bin/env bash
# Applies each mutation of tests/mutations to a copy of the operator, one at a time, and reports which check finds it.
#
# Usage: hack/mutations.sh [NUMBER…]    only these mutations
#   HISTORIES  maximum number of histories of the simulation for each mutation (3000)
#   SEED       seed of the first history (1)
#   CHECKS     `all`: if no history finds a mutation, run the unit tests and tests/exhaustion as well
# Prints a row of the table in docs/reliability.md for each mutation. Fails if a mutation is not found or does not apply.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

histories=${HISTORIES:-3000}
seed=${SEED:-1}
work=$root/target/mutations
tree=$work/tree
# Timeout of a run of histories that does not terminate, in seconds.
limit=900

# Prevent git from treating the copy as part of the surrounding repository.
export GIT_CEILING_DIRECTORIES=$work CARGO_TARGET_DIR=$work/build
# Only the operator differs between mutations, so incremental compilation saves most of the work.
export CARGO_INCREMENTAL=1

# Copies the checkout. Unchanged files keep their times, so that Cargo compiles only changed ones.
copy() {
  mkdir -p "$tree"
  git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
      if [ -f "$file" ] && ! cmp -s "$file" "$tree/$file"; then
        mkdir -p "$tree/$(dirname "$file")"
        cp "$file" "$tree/$file"
      fi
    done
}

build() {
  # With less optimization, the operator compiles in seconds.
  (cd "$tree" && cargo build --quiet -p keypair-simulation --profile simulation \
    --config 'profile.simulation.package.keypair-operator.opt-level=1') >"$work/build.log" 2>&1
}

# Runs the histories, and prints those that break a guarantee: `<number of the history>: <violation>`.
broken() {
  local status=0
  timeout "$limit" "$CARGO_TARGET_DIR/simulation/keypair-simulation" --histories "$histories" --seed "$seed" \
    --threads 1 "$@" >"$work/histories.log" 2>/dev/null || status=$?
  if [ "$status" -eq 124 ]; then
    echo "$histories: the histories do not terminate"
  fi
  sed -n 's/^seed \([0-9]*\): \(.*\)/\1 \2/p' "$work/histories.log" | while read -r number line; do
    echo "$((number - seed + 1)): ${line#[0-9]*s: }"
  done
}

# Prints the check that reports a violation.
check_of() {
  case $1 in
    *" accepted pairs, the quota is"*) echo "quota at every moment" ;;
    *" accepted pairs of the name "*) echo "unique names at every moment" ;;
    *" while "*" led"*) echo "only the leader writes" ;;
    *"a private key in "*) echo "no private key in visible output" ;;
    *": keyPairID was "* | *"not accepted any more"* | *"an accepted pair is told"*) echo "an accepted KeyPair stays accepted" ;;
    *"the status gave out the key"*) echo "a published key stays the same" ;;
    *"a foreign Secret was changed"* | *"a Secret was taken from another"* | *"that somebody else had made was deleted"*) echo "no foreign Secret is changed" ;;
    *"the last copy of a private key"*) echo "no published key is deleted" ;;
    *"that is not published by "* | *"the rotation waits for publications"*) echo "rotations wait for publication, and for nothing else" ;;
    *"a foreign ConfigMap was changed"* | *"a ConfigMap of no publication"*) echo "no foreign ConfigMap is changed" ;;
    *"publishes a key that was never accepted"*) echo "only accepted and shared keys are published" ;;
    *"a key stayed for "*) echo "no key stays published for too long" ;;
    *"its publication is gone"* | *"its former target "*) echo "no target is left over" ;;
    *": its target "* | *" is right"* | *"there are no configmaps"* | *"there are no secrets"* | *"is stalled: "*) echo "targets and statuses say what the model says" ;;
    *"a key became current"* | *"a previous key was removed"* | *"the previous key was removed"*) echo "each key is published long enough" ;;
    *"a rotation that nobody asked for"*) echo "no rotation without a reason" ;;
    *"status.keys has "* | *"the Secret lacks the key that"* | *"the Secret holds entries ."*) echo "Secret and status show the same keys" ;;
    *"is not carried out"* | *"the next key does not become current"*) echo "rotations are carried out" ;;
    *": a second key for "* | *": another key for "*) echo "one key for each KeyPair" ;;
    *"not settled"* | *"InternalError when"* | *"the Secret is "* | *"still writes"* | *": imported, but "*) echo "everything settles" ;;
    *"its key is told to be lost"* | *", and nobody but the operator has touched"* | *"its key is not in the Secret"*) echo "the key exists at the end" ;;
    *" Secrets are its own"* | *"its owner is gone"* | *"its owner is another"*) echo "no Secret is left over" ;;
    *"has an owner: "*) echo "the deletion policy is applied" ;;
    *"pairs have the "* | *"the quota was never more"*) echo "quota, names and identifiers at the end" ;;
    *"a fresh operator changes"*) echo "a fresh operator finds nothing to do" ;;
    *"in an empty cluster"* | "Secret "*": {"*) echo "same result as in an empty cluster" ;;
    *": a review of "*) echo "reviews agree with the controller" ;;
    *"the operator panicked"*) echo "no panic" ;;
    *) echo "$1" ;;
  esac
}

tests_find() {
  (cd "$tree" && cargo test --quiet "$@") >"$work/tests.log" 2>&1 && return 1
  sed -n 's/^    \([a-z0-9_:]*\)$/\1/p' "$work/tests.log" | head -n 1
}

copy
say "building without mutations"
build || { cat "$work/build.log" >&2; die "the unchanged operator does not compile; the log is above"; }
broken --all >"$work/unchanged"
known=$(while IFS=: read -r number _; do echo $((seed + number - 1)); done <"$work/unchanged" | paste -sd, -)
[ -z "$known" ] || say "ignoring the histories of these seeds, since they break a guarantee even without mutations: $known"

survivors=0
for patch in tests/mutations/*.patch; do
  name=$(basename "$patch" .patch)
  [ $# -eq 0 ] || [[ " $* " == *" ${name%%-*} "* ]] || continue
  SECONDS=0
  copy
  if ! git -C "$tree" apply -C1 "$root/$patch" 2>"$work/apply.log"; then
    echo "| $name | does not apply | |"
    survivors=$((survivors + 1))
    continue
  fi
  if ! build; then
    echo "| $name | does not compile | |"
    survivors=$((survivors + 1))
    continue
  fi
  found=$(broken --first ${known:+--except "$known"})
  row="| $name | $(head -n 1 "$patch")"
  if [ -n "$found" ]; then
    say "${found#*: }"
    echo "$row | $(check_of "${found#*: }") | ${found%%:*} |"
  elif [ "${CHECKS:-}" = all ] && found=$(tests_find --lib) && [ -n "$found" ]; then
    echo "$row | unit test \`$found\` | – |"
  elif [ "${CHECKS:-}" = all ] && found=$(tests_find --test exhaustion) && [ -n "$found" ]; then
    echo "$row | \`$found\` in tests/exhaustion | – |"
  else
    echo "$row | nothing | – |"
    survivors=$((survivors + 1))
  fi
  say "$name took $(elapsed)"
done
copy
[ "$survivors" -eq 0 ] || die "$survivors mutations were not found or could not be applied: see the table above"
