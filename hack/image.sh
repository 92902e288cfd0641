#!/usr/bin/env bash
# Builds the container image of the operator into the OCI layout target/image, without a registry, a daemon or root: one
# static program from scratch, run by a user without rights. Prints where it is.
#
# The same sources and the same compiler give the same image: no time but that of the commit is in it, and no path of this
# machine. The image is for the architecture of the machine that it is built on.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

require cargo https://rustup.rs
hack/image-tools.sh

target=$(rustc -vV | sed -n 's/^host: //p')
case $target in
  x86_64-*-linux-*) architecture=amd64 ;;
  aarch64-*-linux-*) architecture=arm64 ;;
  *) die "images are built on Linux, on x86_64 or aarch64; this is $target" ;;
esac
version=$(cargo metadata --no-deps --format-version=1 --locked | sed -n 's/.*"name":"keypair-operator","version":"\([^"]*\)".*/\1/p')
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)

say "building a static program for $target"
export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$root=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
cargo build --release --locked --target "$target" --bin keypair-operator >&2
program=${CARGO_TARGET_DIR:-target}/$target/release/keypair-operator

layout=target/image
files=target/image-files
rm -rf "$layout" "$files"
mkdir -p target "$files/usr/share/licenses/keypair-operator"
install -m 0755 "$program" "$files/keypair-operator"
install -m 0644 LICENSE Cargo.lock "$files/usr/share/licenses/keypair-operator/"
find "$files" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

say "putting the image together"
umoci init --layout "$layout"
umoci new --image "$layout:$version"
for path in keypair-operator usr; do
  umoci insert --rootless --image "$layout:$version" --history.created "$created" --history.created_by "hack/image.sh" \
    "$files/$path" "/$path"
done
umoci config --image "$layout:$version" \
  --created "$created" --architecture "$architecture" --os linux \
  --config.user 65532:65532 --config.entrypoint /keypair-operator --config.cmd run \
  --config.label org.opencontainers.image.title=keypair-operator \
  --config.label "org.opencontainers.image.version=$version" \
  --config.label org.opencontainers.image.licenses=Apache-2.0 \
  --config.label "org.opencontainers.image.revision=$(git rev-parse HEAD)" \
  --history.created "$created" --history.created_by "hack/image.sh"
umoci gc --layout "$layout"
rm -rf "$files"
size=$(du -sk "$layout" | cut -f1)
say "image keypair-operator:$version ($architecture, $((size / 1024)) MiB compressed); to push it: skopeo copy oci:$layout:$version docker://REGISTRY/keypair-operator:$version"
echo "$layout:$version"
