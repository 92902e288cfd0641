#!/usr/bin/env bash
# Packages the plugin of kubectl for a release into target/archive: for each architecture an archive with the program under the name
# kubectl-keypair and its licenses, and the manifest for krew. hack/image.sh must have built the programs. Prints the directory.
#
#   hack/archive.sh https://github.com/OWNER/keypair-operator
#   ARCHITECTURES, PROFILE  as for hack/image.sh
#
# The archives are reproducible, as the image is.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

source=${1:?usage: hack/archive.sh SOURCE-URL}
ARCHITECTURES=${ARCHITECTURES:-$(case $(uname -m) in aarch64) echo arm64 ;; *) echo amd64 ;; esac)}
PROFILE=${PROFILE:-release}
version=$(sed -n 's/^version: //p' charts/keypair-operator/Chart.yaml)
time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

work=target/archive
rm -rf "$work"
mkdir -p "$work/files"
manifest=$work/keypair.yaml
sed -e '/^#/d' -e "s|VERSION|$version|g; s|SOURCE|$source|g" .krew.yaml >"$manifest"
for architecture in amd64 arm64; do
  case " $ARCHITECTURES " in
    *" $architecture "*) ;;
    *)
      # Without its archive, the manifest must not offer it.
      awk -v arch="$architecture" '
        /^    - selector:/ { if (held != "" && !skip) printf "%s", held; held = ""; skip = 0 }
        /^    - selector:/ || held != "" { held = held $0 "\n"; if ($0 ~ "arch: " arch "$") skip = 1; next }
        { print }
        END { if (held != "" && !skip) printf "%s", held }' "$manifest" >"$manifest.new"
      mv "$manifest.new" "$manifest"
      continue
      ;;
  esac
  case $architecture in
    amd64) target=x86_64-unknown-linux-gnu ;;
    arm64) target=aarch64-unknown-linux-gnu ;;
  esac
  program=${CARGO_TARGET_DIR:-target}/$target/$PROFILE/keypair-operator
  [ -x "$program" ] || die "there is no $program; build it with: make image ARCHITECTURES=\"$ARCHITECTURES\" PROFILE=$PROFILE"
  # krew extracts files only, no links.
  install -m 0755 "$program" "$work/files/kubectl-keypair"
  install -m 0644 LICENSE "$work/files/LICENSE"
  hack/notices.sh "$target" >"$work/files/THIRD-PARTY.txt"
  archive=kubectl-keypair-linux-$architecture.tar.gz
  tar --create --sort=name --mtime="@$time" --owner=0 --group=0 --numeric-owner --directory "$work/files" \
    LICENSE THIRD-PARTY.txt kubectl-keypair | gzip --no-name --best >"$work/$archive"
  sum=$(sha256sum "$work/$archive" | cut -d' ' -f1)
  sed "s|SHA256-$architecture|$sum|" "$manifest" >"$manifest.new"
  mv "$manifest.new" "$manifest"
done
rm -rf "$work/files"
! grep -qE 'VERSION|SOURCE|SHA256-' "$manifest" || die "a placeholder of .krew.yaml is left in $manifest"
say "packaged kubectl-keypair $version ($ARCHITECTURES)"
echo "$work"
