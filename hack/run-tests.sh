#!/usr/bin/env bash
# Runs all tests: the unit tests and the documentation tests first, then the integration tests, two of their programs at once, since
# each has its own control plane and mostly waits.
#   TEST_JOBS  how many programs run at once (2)
# Prints the output of a program in one piece when it ends, and the names of those that failed at the end. `make test` sets the variables
# that the tests need.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

# The slowest, in this order, so that none of them runs last and alone. The others follow in Cargo's order.
slow='e2e restore ha faults webhook chart resilience gitops cel'
# These run beside the two, since they hardly need a processor: some histories end only when the operator reconciles again after five minutes.
idle='walks'
# These run alone at the end: they assert how soon a busy operator responds.
alone='crowd'
jobs=${TEST_JOBS:-2}
case $jobs in
  '' | *[!0-9]* | 0) die "TEST_JOBS is '$jobs', but must be a number from 1" ;;
esac

# Builds the programs as well: Cargo does that for a package with integration tests.
cargo test --workspace --no-run
work=$(mktemp -d)
# The programs that run: the process id, the second at which it began, and the name of each.
running=''
# Ends them.
stop() {
  for test in $running; do
    kill -TERM -- "-${test%%:*}" 2>/dev/null || true
  done
  for test in $running; do
    wait "${test%%:*}" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap 'stop' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Cargo lists the program of every test, so a new test cannot be forgotten. The integration tests do not run with `cargo test --test NAME`,
# which would compile dependencies again, with the features that this test alone needs.
cargo test --workspace --no-run --quiet --message-format=json |
  sed -n 's#.*"manifest_path":"\([^"]*\)/Cargo.toml".*"kind":\["test"\].*"name":"\([^"]*\)","src_path":"\([^"]*\)".*"executable":"\([^"]*\)".*#\2|\1|\3|\4#p' \
    >"$work/programs"
tests=$(cut -d'|' -f1 "$work/programs")
[ -z "$(sort <<<"$tests" | uniq -d)" ] || die "two packages have a test of the same name: $(sort <<<"$tests" | uniq -d)"

# has WORD LIST: whether the list contains the word.
has() {
  case " $(tr '\n' ' ' <<<"$2") " in
    *" $1 "*) ;;
    *) return 1 ;;
  esac
}
for name in $idle $slow $alone; do
  has "$name" "$tests" || die "there is no test '$name': correct the lists in hack/run-tests.sh"
done

failed=''
cargo test --workspace --no-fail-fast --lib --bins || failed=' the unit tests'
cargo test --workspace --no-fail-fast --doc || failed="$failed${failed:+,} the documentation tests"

# program NAME: runs it in the directory of its package, as Cargo does.
program() {
  local directory source executable
  IFS='|' read -r _ directory source executable < <(grep "^$1|" "$work/programs")
  echo "     Running ${source#"$directory/"} ($executable)"
  cd "$directory"
  CARGO_MANIFEST_DIR=$directory exec "$executable"
}

# start NAME
start() {
  say "$1 begins ($(elapsed))"
  # With job control, the program and what it starts have a process group of their own, which `stop` can end. Without, they would ignore
  # an interrupt.
  set -m
  program "$1" >"$work/$1" 2>&1 </dev/null &
  set +m
  running="$running $!:$SECONDS:$1"
  begun="$begun $1"
}

# Waits until at most this many run, and reports those that have ended. Unless none may run, those of `idle` do not count.
finish() {
  local count=$(($1 + 1)) test process seconds name status still
  while [ "$count" -gt "$1" ]; do
    still=''
    count=0
    for test in $running; do
      IFS=: read -r process seconds name <<<"$test"
      if kill -0 "$process" 2>/dev/null; then
        still="$still $test"
        [ "$1" -gt 0 ] && has "$name" "$idle" || count=$((count + 1))
        continue
      fi
      status=0
      wait "$process" || status=$?
      cat "$work/$name"
      say "$name ends after $((SECONDS - seconds)) s, with exit code $status"
      [ "$status" -eq 0 ] || failed="$failed${failed:+,} $name"
    done
    running=$still
    [ "$count" -le "$1" ] || sleep 0.2
  done
}

begun=''
for name in $idle $slow $tests; do
  # The list begins with those that `tests` contains as well.
  if has "$name" "$alone" || has "$name" "$begun"; then
    continue
  fi
  finish $((jobs - 1))
  start "$name"
done
for name in $alone; do
  finish 0
  start "$name"
done
finish 0
[ -z "$failed" ] || die "failed:$failed"
say "all tests passed in $(elapsed)"
