#!/usr/bin/env bash
# Builds the image with hack/image.sh, runs it with a real OCI runtime, and checks it: one static program, run by an unprivileged
# user on a read-only file system. A program for another architecture runs in an emulator. PROFILE and ARCHITECTURES: see hack/image.sh.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

native=$(case $(uname -m) in x86_64) echo amd64 ;; aarch64) echo arm64 ;; *) uname -m ;; esac)
export ARCHITECTURES=${ARCHITECTURES:-$native}
image=$(hack/image.sh)
layout=${image%:*}
version=${image##*:}
digest() {
  sha256sum "$layout/index.json" | cut -d' ' -f1
}

say "checking that a second build gives the same image"
first=$(digest)
hack/image.sh >/dev/null
[ "$(digest)" = "$first" ] || die "the build is not reproducible: two builds of the same sources gave different images"

work=$(mktemp -d)
container=keypair-operator-test-$$
cleanup() {
  as_root runc --root "$work/state" delete --force "$container" >/dev/null 2>&1 || true
  as_root rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say "checking that each architecture has its image"
skopeo copy --quiet --all "oci:$layout:$version" "dir:$work/pulled" || die "skopeo cannot copy the image"
for architecture in $ARCHITECTURES; do
  found=$(skopeo inspect --override-os linux --override-arch "$architecture" --format '{{.Architecture}}' "oci:$layout:$version")
  [ "$found" = "$architecture" ] || die "the image for $architecture is one for $found"
done

# bundle NAME ARCHITECTURE ARGUMENT…: unpacks the image into a bundle that runs the program with these arguments.
bundle() {
  local name=$1 architecture=$2 flags=() argument
  shift 2
  for argument in "$@"; do
    flags+=("--config.cmd=$argument")
  done
  rm -rf "$work/image"
  cp -r "$layout" "$work/image"
  umoci config --image "$work/image:$version-$architecture" --clear=config.cmd ${flags[@]+"${flags[@]}"}
  as_root umoci unpack --image "$work/image:$version-$architecture" "$work/$name" 2>/dev/null
  as_root sed -i 's/"terminal": true/"terminal": false/; s/"path": "rootfs"/"path": "rootfs", "readonly": true/' \
    "$work/$name/config.json"
}

expected="./keypair-operator
./usr/share/licenses/keypair-operator/LICENSE
./usr/share/licenses/keypair-operator/THIRD-PARTY.txt
./usr/share/sbom/keypair-operator.cdx.json"
for architecture in $ARCHITECTURES; do
  bundle "$architecture" "$architecture" --version
  rootfs=$work/$architecture/rootfs
  files=$(cd "$rootfs" && as_root find . -type f | sort)
  [ "$files" = "$expected" ] || die "the image must contain the program, licenses and bill of materials only; it contains: $files"
  for name in kubectl-keypair kubectl_complete-keypair; do
    [ "$(as_root readlink "$rootfs/$name")" = keypair-operator ] || die "$name is not a link to the program"
  done
  sbom=$rootfs/usr/share/sbom/keypair-operator.cdx.json
  for word in '"bomFormat": "CycloneDX"' '"name": "aws-lc-rs"' '"name": "kube-client"'; do
    grep -qF "$word" "$sbom" || die "the bill of materials lacks $word"
  done
  ! grep -qE '"name": "(proptest|criterion)"' "$sbom" || die "the bill of materials lists crates that only tests need"
  ! grep -qF "$root" "$sbom" || die "the bill of materials contains a path of this machine: $root"
  for word in 'Apache License' 'MIT License' '^aws-lc-rs ' '^kube '; do
    grep -q "$word" "$rootfs/usr/share/licenses/keypair-operator/THIRD-PARTY.txt" || die "THIRD-PARTY.txt lacks $word"
  done
  [ "$architecture" = "$native" ] || hack/foreign-test.sh "$architecture" "$rootfs/keypair-operator"
done

# start NAME: runs the program of the bundle NAME, in the foreground.
runtime=runc
start() {
  local arguments
  case $runtime in
    runc) as_root runc --root "$work/state" run --bundle "$work/$1" "$container" ;;
    chroot)
      arguments=$(sed -n '/"args": \[/,/\]/ s/^[[:space:]]*"\(.*\)",\{0,1\}$/\1/p' "$work/$1/config.json")
      # shellcheck disable=SC2086 # one word for each argument
      as_root chroot --userspec="$user:$user" "$work/$1/rootfs" $arguments
      ;;
  esac
}

# A sandbox may forbid all containers.
bundle probe "$native" --help
user=$(as_root sed -n 's/.*"uid": \([0-9]*\).*/\1/p' "$work/probe/config.json" | head -1)
[ "${user:-0}" != 0 ] || die "the image runs as root: its configuration must name another user"
if ! start probe >"$work/output" 2>&1 </dev/null && ! grep -q 'Usage: keypair-operator' "$work/output"; then
  say "runc cannot start a container on this machine, so the test uses chroot: $(tail -1 "$work/output")"
  runtime=chroot
fi
say "checking the version"
said=$(start "$native" </dev/null)
[ "$said" = "keypair-operator $version" ] || die "the version is wrong: expected keypair-operator $version, got $said"

say "checking the plugin of kubectl"
umoci config --image "$work/image:$version-$native" --config.entrypoint /kubectl-keypair --clear=config.cmd --config.cmd=--version
as_root umoci unpack --image "$work/image:$version-$native" "$work/plugin" 2>/dev/null
as_root sed -i 's/"terminal": true/"terminal": false/; s/"path": "rootfs"/"path": "rootfs", "readonly": true/' "$work/plugin/config.json"
said=$(start plugin </dev/null)
[ "$said" = "kubectl-keypair $version" ] || die "the version of the plugin is wrong: expected kubectl-keypair $version, got $said"
hack/archive-test.sh

say "checking the user"
bundle waiting "$native" lint -
mkfifo "$work/input"
start waiting <"$work/input" >"$work/output" 2>&1 &
exec 3>"$work/input"
# Find the process by its root directory, which no other process has.
for _ in $(seq 100); do
  pid=$(as_root find /proc -maxdepth 2 -name root -lname "$work/waiting/rootfs*" 2>/dev/null | cut -d/ -f3 | head -1) || true
  [ "$runtime" = chroot ] ||
    pid=$(as_root runc --root "$work/state" state "$container" 2>/dev/null | sed -n 's/.*"pid": \([0-9]*\).*/\1/p') || true
  [ "${pid:-0}" -gt 0 ] && grep -q keypair "/proc/$pid/comm" 2>/dev/null && break
  sleep 0.1
done
users=$(sed -n 's/^Uid:\t//p' "/proc/$pid/status" | tr '\t' '\n' | sort -u)
exec 3>&-
wait
[ "$users" = 65532 ] || die "the program runs as user $users instead of 65532"
grep -q '0 objects checked' "$work/output" || die "unexpected output of lint: $(cat "$work/output")"
say "$image passed: one static program of version $version, run by user $users"
