#!/usr/bin/env bash
# Prints the bill of materials of the program for a target in CycloneDX format, with version, license and checksum of each crate
# that is compiled into it: hack/sbom.sh x86_64-unknown-linux-gnu
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

target=${1:?usage: hack/sbom.sh TARGET}
cyclonedx=$(hack/cargo-tool.sh cargo-cyclonedx)
name=sbom-$$
# cargo-cyclonedx writes a file beside the manifest of each crate.
trap 'rm -f "$name.json" tests/*/"$name.json"' EXIT
"$cyclonedx" cyclonedx -qq --format json --spec-version 1.5 --no-build-deps --target "$target" \
  --override-filename "$name" >&2
sed "s|$root|.|g" "$name.json"
