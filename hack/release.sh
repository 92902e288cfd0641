#!/usr/bin/env bash
# Creates the commit and the tag of a release: hack/release.sh 1.2.3
#
# Sets the common version of crate, chart and image, and adds the heading to CHANGELOG.md. Pushes nothing.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

version=${1:?usage: hack/release.sh VERSION, e.g. 1.2.3}
[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || die "invalid version $version: use a semantic version such as 1.2.3 (https://semver.org)"
[ -z "$(git status --porcelain)" ] || die "the working tree has uncommitted changes: commit or stash them"
! git rev-parse --quiet --verify "refs/tags/v$version" >/dev/null || die "the tag v$version exists already: use another version"
grep -q '^## \[Unreleased\]$' CHANGELOG.md || die "CHANGELOG.md has no section [Unreleased]: add it, with the changes of this release"

# edit FILE SED-SCRIPT: portable sed -i.
edit() {
  sed "$2" "$1" >"$1.new"
  mv "$1.new" "$1"
}

edit Cargo.toml "/^\[workspace.package\]/,/^\[/ s/^version = .*/version = \"$version\"/"
case $version in *-*) prerelease=true ;; *) prerelease=false ;; esac
edit charts/keypair-operator/Chart.yaml "s/^version: .*/version: $version/; s/^appVersion: .*/appVersion: \"$version\"/
  s|^\(  artifacthub.io/prerelease: \).*|\1\"$prerelease\"|"
edit CHANGELOG.md "s/^## \[Unreleased\]\$/## [Unreleased]\\
\\
## [$version] - $(date -u +%Y-%m-%d)/"
# Update the versions of the workspace's own packages only.
cargo update --workspace --offline --quiet

git commit --quiet --all --message "Release $version"
git tag --annotate "v$version" --message "keypair-operator $version"
say "committed and tagged v$version; next, run .ci/run, then push both: git push origin HEAD v$version"
