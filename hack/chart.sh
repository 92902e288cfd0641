#!/usr/bin/env bash
# Packages the Helm chart for a release into target/chart, and prints the path of the package:
# hack/chart.sh ghcr.io/OWNER/keypair-operator [https://github.com/OWNER/keypair-operator]
#
# The packaged chart pulls the image of target/image, which hack/image.sh builds, from that repository, by its digest. With the URL of
# the source repository it has the annotations that Artifact Hub shows.
#
#   IMAGE_DIGEST  the digest of the image, instead of that of target/image
#   HELM          a helm to use instead of the one that hack/helm.sh builds
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

repository=${1:?usage: hack/chart.sh IMAGE-REPOSITORY [SOURCE-URL]}
source=${2:-}
helm=$(hack/helm.sh)
chart=charts/keypair-operator
version=$(sed -n 's/^version: //p' $chart/Chart.yaml)
digest=${IMAGE_DIGEST:-}
if [ -z "$digest" ]; then
  [ -f target/image/index.json ] || die "there is no image in target/image; build it: make image"
  require skopeo https://github.com/containers/skopeo
  digest=sha256:$(skopeo inspect --raw "oci:target/image:$version" | sha256sum | cut -d' ' -f1)
fi

work=target/chart
rm -rf "$work"
mkdir -p "$work"
cp -r $chart "$work/"
values=$work/keypair-operator/values.yaml
sed "/^image:/,/^[^ ]/ {
  s|^  repository:.*|  repository: $repository|
  s|^  digest:.*|  digest: $digest|
}" "$values" >"$values.new"
mv "$values.new" "$values"
if [ -n "$source" ]; then
  # The annotations are the last field of the file.
  cat >>"$work/keypair-operator/Chart.yaml" <<YAML
  artifacthub.io/images: |
    - name: keypair-operator
      image: $repository@$digest
      platforms: [linux/amd64, linux/arm64]
  artifacthub.io/links: |
    - name: Documentation
      url: $source/blob/v$version/docs/README.md
    - name: Changelog
      url: $source/blob/v$version/CHANGELOG.md
    - name: Security policy
      url: $source/blob/v$version/SECURITY.md
home: $source
sources: [$source]
YAML
fi

rendered=$("$helm" template keypair-operator "$work/keypair-operator")
grep -qF "$repository@$digest" <<<"$rendered" || die "the chart does not pull $repository@$digest"
"$helm" package "$work/keypair-operator" --destination "$work" >&2
rm -rf "$work/keypair-operator"
echo "$work/keypair-operator-$version.tgz"
