#!/usr/bin/env bash
# Makes the commit and the tag of a release: hack/release.sh 1.2.3
#
# The versions of crate, chart and image are one, and CHANGELOG.md gets its heading. Nothing is pushed.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

version=${1:?usage: hack/release.sh VERSION, such as 1.2.3}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || die "$version is no version (https://semver.org)"
[ -z "$(git status --porcelain)" ] || die "there are changes that are not committed"
! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null || die "v$version is there already"
grep -q '^## \[Unreleased\]$' CHANGELOG.md || die "CHANGELOG.md has no section [Unreleased]"

# edit FILE SED-SCRIPT: portable sed -i.
edit() {
  sed "$2" "$1" >"$1.new"
  mv "$1.new" "$1"
}

edit Cargo.toml "/^\[workspace.package\]/,/^\[/ s/^version = .*/version = \"$version\"/"
edit charts/keypair-operator/Chart.yaml "s/^version: .*/version: $version/; s/^appVersion: .*/appVersion: \"$version\"/"
edit CHANGELOG.md "s/^## \[Unreleased\]\$/## [Unreleased]\\
\\
## [$version] - $(date -u +%Y-%m-%d)/"
# The versions of our own packages only.
cargo update --workspace --offline --quiet

git commit --quiet --all --message "Release $version"
git tag --annotate "v$version" --message "keypair-operator $version"
say "committed and tagged v$version; run .ci/run, then push both: git push origin HEAD v$version"
