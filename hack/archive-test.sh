#!/usr/bin/env bash
# Packages the plugin with hack/archive.sh, and checks the archives and the manifest. ARCHITECTURES and PROFILE: see hack/image.sh.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

native=$(case $(uname -m) in aarch64) echo arm64 ;; *) echo amd64 ;; esac)
export ARCHITECTURES=${ARCHITECTURES:-$native}
source=https://example.com/keypair-operator
directory=$(hack/archive.sh $source)
sums() {
  (cd "$directory" && sha256sum -- *)
}
first=$(sums)
hack/archive.sh $source >/dev/null
[ "$(sums)" = "$first" ] || die "two archives of the same program differ"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^version: //p' charts/keypair-operator/Chart.yaml)
for architecture in $ARCHITECTURES; do
  archive=kubectl-keypair-linux-$architecture.tar.gz
  sum=$(sha256sum "$directory/$archive" | cut -d' ' -f1)
  entry=$(grep -A1 -F "uri: $source/releases/download/v$version/$archive" "$directory/keypair.yaml")
  grep -qF "sha256: $sum" <<<"$entry" || die "the manifest has another checksum of $archive"
  tar --list --verbose --file "$directory/$archive" | grep -qv '^-' && die "$archive contains something that is not a file"
  tar --extract --file "$directory/$archive" --directory "$work"
  for file in LICENSE THIRD-PARTY.txt kubectl-keypair; do
    [ -s "$work/$file" ] || die "$archive lacks $file"
  done
  if [ "$architecture" = "$native" ]; then
    said=$("$work/kubectl-keypair" --version)
    [ "$said" = "kubectl-keypair $version" ] || die "the program in $archive says $said"
  fi
done
[ "$(grep -c 'arch:' "$directory/keypair.yaml")" = "$(wc -w <<<"$ARCHITECTURES")" ] || die "the manifest offers other architectures than $ARCHITECTURES"
say "$directory passed"
