#!/usr/bin/env bash
# Builds the program with the FIPS module of AWS-LC, runs the unit tests, and checks what the program is linked with:
# hack/fips-test.sh
#
# Compiling the module from source needs CMake and Go in addition to Rust and a C compiler.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

require cmake https://cmake.org/download/
require go https://go.dev/doc/install
require nm https://sourceware.org/binutils/
# Separate from other builds: their program of the same name is linked with another library.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/fips
export CARGO_TARGET_DIR
say "compiling the FIPS module and the unit tests; the first time, this takes some minutes"
cargo test --locked --features fips --lib
cargo test --locked --features fips --test cli -- --skip run::it_ --skip crd
cargo build --locked --features fips
program=$CARGO_TARGET_DIR/debug/keypair-operator
version=$("$program" --version)
case $version in
  *' (FIPS module)') ;;
  *) die "$program --version does not mention the FIPS module: $version" ;;
esac
# The names of AWS-LC's symbols contain its version, which differs between module and library.
symbols=$(nm "$program" | grep -o 'aws_lc_[a-z0-9]*' | sort | uniq -c)
grep -q ' aws_lc_fips$' <<<"$symbols" || die "$program has no symbols of the FIPS module"
! grep -q ' aws_lc_0$' <<<"$symbols" || die "$program is also linked with AWS-LC without the FIPS module"
say "$version: linked with the FIPS module only"
