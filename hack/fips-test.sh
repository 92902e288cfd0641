#!/usr/bin/env bash
# Builds the program with the FIPS module of AWS-LC, runs the unit tests with it, and looks at what the program is linked with:
# hack/fips-test.sh
#
# The module is compiled from source, which needs CMake and Go beside Rust and a C compiler.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

require cmake https://cmake.org/download/
require go https://go.dev/doc/install
require nm https://sourceware.org/binutils/
# Apart from what other builds leave: the program of the same name has another library in it.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/fips
export CARGO_TARGET_DIR
say "compiling the FIPS module and the unit tests, which takes some minutes the first time"
cargo test --locked --features fips --lib
cargo test --locked --features fips --test cli -- --skip run::it_ --skip crd
cargo build --locked --features fips
program=$CARGO_TARGET_DIR/debug/keypair-operator
version=$("$program" --version)
case $version in
  *' (FIPS module)') ;;
  *) die "it does not say that it has the FIPS module: $version" ;;
esac
# Every symbol of AWS-LC has its version in it, and that of the module another one than that of the library.
symbols=$(nm "$program" | grep -o 'aws_lc_[a-z0-9]*' | sort | uniq -c)
grep -q ' aws_lc_fips$' <<<"$symbols" || die "the FIPS module is not in the program"
! grep -q ' aws_lc_0$' <<<"$symbols" || die "AWS-LC without the module is in the program, too"
say "$version: all of AWS-LC that it is linked with is the module"
