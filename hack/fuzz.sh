#!/usr/bin/env bash
# Fuzzes the code that parses input: hack/fuzz.sh [TARGET…]
#
#   FUZZ_SECONDS  how long each target runs; default: 60. 0: only the seeds, without random changes
#   FUZZ_SEED     seed; default: random
#   FUZZ_JOBS     how many targets run at once; default: the number of processors
#
# If an input breaks a target, the script stores it in target/fuzz-artifacts, prints it in base64, and fails. Add the input to
# tests/fuzzing/regressions/TARGET, so that `make test` checks it. Inputs that reach new code stay in target/fuzz-corpus, and the
# next run starts with them.
#
# The stable compiler suffices: it supports libFuzzer's instrumentation, and sanitizers are off, since only one file has unsafe
# code, which no target calls. Debug assertions and overflow checks are on.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

# Each target, with the maximum length of its inputs in bytes.
targets='public_key:8192 private_key:8192 rfc4716:4096 leak:8192 admission:16384 label_selector:512 linear:64'
seconds=${FUZZ_SECONDS:-60}
jobs=${FUZZ_JOBS:-$(getconf _NPROCESSORS_ONLN)}

require cargo https://rustup.rs
# libFuzzer is C++.
if [ -n "$(missing "${CXX:-c++}")" ]; then
  can_install || die "${CXX:-c++} is not installed: install a C++ compiler"
  install_packages g++
fi
fuzz=$(hack/cargo-tool.sh cargo-fuzz)
cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null ||
  die "fuzz/Cargo.lock is out of date: copy Cargo.lock over it, run cargo metadata --manifest-path fuzz/Cargo.toml, and commit it"

say "building"
"$fuzz" build --sanitizer none --codegen-units 16 --target-dir target/fuzz >&2
cargo run --quiet --locked --package keypair-fuzzing --bin fuzz-seeds -- target/fuzz-corpus >&2
programs=target/fuzz/$(rustc -vV | sed -n 's/^host: //p')/release
say "built in $(elapsed)"

# run TARGET LENGTH: fuzzes a target; the log is in target/fuzz-artifacts/TARGET.
run() {
  local artifacts=target/fuzz-artifacts/$1 status=0 input program limit=-max_total_time=$seconds
  [ "$seconds" -gt 0 ] || limit=-runs=0
  rm -rf "$artifacts"
  mkdir -p "$artifacts"
  RUST_BACKTRACE=0 "$programs/$1" "$limit" -seed="${FUZZ_SEED:-0}" -max_len="$2" -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 \
    -dict=target/fuzz-corpus/dictionary -artifact_prefix="$artifacts/" "target/fuzz-corpus/$1" >"$artifacts/log" 2>&1 &
  program=$!
  trap 'kill $program 2>/dev/null; exit 143' TERM
  wait "$program" || status=$?
  if [ "$status" -eq 0 ]; then
    say "$1: $(sed -n 's/^stat::number_of_executed_units: *//p' "$artifacts/log") executions," \
      "$(sed -n 's/^stat::average_exec_per_sec: *//p' "$artifacts/log") a second," \
      "coverage $(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$artifacts/log" | tail -n 1)"
    return
  fi
  say "$1: failed; the end of its output:"
  grep -v '^stat::' "$artifacts/log" | tail -n 40 >&2
  for input in "$artifacts"/*-*; do
    [ ! -f "$input" ] || say "$1: $input in base64: $(base64 <"$input" | tr -d '\n')"
  done
  return 1
}

failed=''
running=''
# Waits for the oldest running target.
finish() {
  wait "${running%% *}" || failed=yes
  running=${running#"${running%% *}"}
  running=${running# }
}
# Stop running targets when the script ends.
trap '[ -z "$running" ] || kill $running 2>/dev/null || true' EXIT
for target in $targets; do
  name=${target%:*}
  case " $* " in
    "  " | *" $name "*) ;;
    *) continue ;;
  esac
  [ "$(echo "$running" | wc -w)" -lt "$jobs" ] || finish
  run "$name" "${target#*:}" &
  running="${running:+$running }$!"
done
while [ -n "$running" ]; do
  finish
done
[ -z "$failed" ] || die "at least one target failed: see above"
