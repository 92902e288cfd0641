#!/usr/bin/env bash
# Prints the licenses of all crates that are compiled into the program for a target, as the crates contain them, each text once:
# hack/notices.sh x86_64-unknown-linux-gnu
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

target=${1:?usage: hack/notices.sh TARGET}
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/texts" "$work/crates"

cargo fetch --quiet --locked
# One line for each crate: name, version, and license. A "(proc-macro)" is not part of the program.
cargo tree --locked --target "$target" --edges normal,no-proc-macro --prefix none --format '{p};{l}' |
  sed 's/ (\*)$//' | grep -v '^keypair-' | sort -u >"$work/list"
[ -s "$work/list" ] || die "cargo tree lists no crates for $target"

echo 'The keypair-operator program is linked with these crates, under the licenses that follow.'
echo
while IFS=';' read -r crate licence; do
  name=${crate%% *} version=${crate##* v}
  printf '%s %s: %s\n' "$name" "$version" "$licence"
  for text in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$name-$version"/{,*/}{LICEN[CS]E,COPYING,COPYRIGHT,NOTICE}*; do
    [ -f "$text" ] || continue
    sum=$(sha256sum <"$text" | cut -c1-64)
    cp "$text" "$work/texts/$sum"
    echo "$name $version" >>"$work/crates/$sum"
  done
done <"$work/list"
for text in "$work"/texts/*; do
  printf '\n%s\n' ================================================================================
  sort -u "$work/crates/${text##*/}"
  echo
  cat "$text"
done
