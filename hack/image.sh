#!/usr/bin/env bash
# Builds the operator's container image into the OCI layout target/image, without a registry, a daemon or root: a static program
# from scratch, run by an unprivileged user, with its licenses and its bill of materials. Prints the layout and the tag.
#
#   ARCHITECTURES  e.g. "amd64 arm64"; default: that of this machine
#   PROFILE        Cargo profile of the program; default: release
#
# The image is reproducible with the same sources and the same compiler: all times are that of the commit, and no path of this
# machine is in it. The tag VERSION is an index of all architectures; VERSION-ARCHITECTURE is the image of one.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

require cargo https://rustup.rs
hack/image-tools.sh

host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
  x86_64-*-linux-gnu) native=amd64 ;;
  aarch64-*-linux-gnu) native=arm64 ;;
  *) die "unsupported host $host: build images on Linux with glibc, on x86_64 or aarch64" ;;
esac
ARCHITECTURES=${ARCHITECTURES:-$native}
PROFILE=${PROFILE:-release}
version=$(cargo metadata --no-deps --format-version=1 --locked | sed -n 's/.*"name":"keypair-operator","version":"\([^"]*\)".*/\1/p')
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)

layout=target/image
rm -rf "$layout"
mkdir -p "$layout/blobs/sha256"

# build ARCHITECTURE TARGET: builds the static program for TARGET.
build() {
  say "building a static program for $1"
  (
    [ "$1" = "$native" ] || eval "$(hack/foreign-target.sh "$2")"
    RUSTFLAGS=$(static_flags)
    export RUSTFLAGS
    cargo build --profile "$PROFILE" --locked --target "$2" --bin keypair-operator >&2
  )
}

# package ARCHITECTURE TARGET: creates the image for one architecture, in its own layout.
package() {
  local one=target/image-$1 files=target/image-files
  rm -rf "$one" "$files"
  mkdir -p "$files/usr/share/licenses/keypair-operator" "$files/usr/share/sbom"
  install -m 0755 "${CARGO_TARGET_DIR:-target}/$2/$PROFILE/keypair-operator" "$files/keypair-operator"
  install -m 0644 LICENSE "$files/usr/share/licenses/keypair-operator/"
  # The names under which the program is a plugin of kubectl.
  ln -s keypair-operator "$files/kubectl-keypair"
  ln -s keypair-operator "$files/kubectl_complete-keypair"
  hack/notices.sh "$2" >"$files/usr/share/licenses/keypair-operator/THIRD-PARTY.txt"
  hack/sbom.sh "$2" >"$files/usr/share/sbom/keypair-operator.cdx.json"
  find "$files" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

  umoci init --layout "$one"
  umoci new --image "$one:image"
  for path in keypair-operator kubectl-keypair kubectl_complete-keypair usr; do
    umoci insert --rootless --image "$one:image" --history.created "$created" --history.created_by "hack/image.sh" \
      "$files/$path" "/$path"
  done
  umoci config --image "$one:image" \
    --created "$created" --architecture "$1" --os linux \
    --config.user 65532:65532 --config.entrypoint /keypair-operator --config.cmd run \
    --config.label org.opencontainers.image.title=keypair-operator \
    --config.label "org.opencontainers.image.version=$version" \
    --config.label org.opencontainers.image.licenses=Apache-2.0 \
    --config.label "org.opencontainers.image.revision=$(git rev-parse HEAD)" \
    --history.created "$created" --history.created_by "hack/image.sh"
  umoci gc --layout "$one"
  rm -rf "$files"
}

# descriptor FILE MEDIA-TYPE FIELDS: prints the descriptor of a blob for an index, with additional FIELDS.
descriptor() {
  printf '{"mediaType":"%s","digest":"sha256:%s","size":%d,%s}' "$2" "$(sha256sum "$1" | cut -d' ' -f1)" "$(wc -c <"$1")" "$3"
}

# tagged TAG: prints the annotation that gives an entry of the layout its tag.
tagged() {
  printf '"annotations":{"org.opencontainers.image.ref.name":"%s"}' "$1"
}

manifest=application/vnd.oci.image.manifest.v1+json
index=application/vnd.oci.image.index.v1+json
platforms='' entries=''
for architecture in $ARCHITECTURES; do
  case $architecture in
    amd64) target=x86_64-unknown-linux-gnu ;;
    arm64) target=aarch64-unknown-linux-gnu ;;
    *) die "ARCHITECTURES: unsupported architecture $architecture: use amd64 or arm64" ;;
  esac
  build "$architecture" "$target"
  package "$architecture" "$target"
  cp -r "target/image-$architecture/blobs/sha256/." "$layout/blobs/sha256/"
  digest=$(sed -n 's/.*"digest": *"sha256:\([0-9a-f]*\)".*/\1/p' "target/image-$architecture/index.json")
  rm -rf "target/image-$architecture"
  blob=$layout/blobs/sha256/$digest
  platforms+=$(descriptor "$blob" $manifest "\"platform\":{\"architecture\":\"$architecture\",\"os\":\"linux\"}"),
  entries+=,$(descriptor "$blob" $manifest "$(tagged "$version-$architecture")")
done
printf '{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' $index "${platforms%,}" >"$layout/index"
digest=$(sha256sum "$layout/index" | cut -d' ' -f1)
mv "$layout/index" "$layout/blobs/sha256/$digest"
entries=$(descriptor "$layout/blobs/sha256/$digest" $index "$(tagged "$version")")$entries
printf '{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}' $index "$entries" >"$layout/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"

size=$(du -sk "$layout" | cut -f1)
say "built image keypair-operator:$version ($ARCHITECTURES, $((size / 1024)) MiB compressed); to push it, run: skopeo copy --all oci:$layout:$version docker://REGISTRY/keypair-operator:$version"
echo "$layout:$version"
