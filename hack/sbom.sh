#!/usr/bin/env bash
# Prints the bill of materials of the program for a target, as CycloneDX: every crate that is compiled into it, with version,
# licence and checksum: hack/sbom.sh x86_64-unknown-linux-gnu
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

target=${1:?usage: hack/sbom.sh TARGET}
cyclonedx=$(hack/cargo-tool.sh cargo-cyclonedx)
name=sbom-$$
# It writes one beside the manifest of each crate.
trap 'rm -f "$name.json" tests/*/"$name.json"' EXIT
"$cyclonedx" cyclonedx -qq --format json --spec-version 1.5 --no-build-deps --target "$target" \
  --override-filename "$name" >&2
sed "s|$root|.|g" "$name.json"
