#!/usr/bin/env bash
# Runs the image that hack/image.sh built with a real OCI runtime, and looks at what it is: one static program, which answers,
# run by a user without rights on a file system that cannot be written to.
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

image=$(hack/image.sh)
layout=${image%:*}
version=${image##*:}
digest() {
  sha256sum "$layout/index.json" | cut -d' ' -f1
}

say "building it again gives the same image"
first=$(digest)
hack/image.sh >/dev/null
[ "$(digest)" = "$first" ] || die "the image differs from the one that was built of the same sources just now"

work=$(mktemp -d)
container=keypair-operator-test-$$
cleanup() {
  as_root runc --root "$work/state" delete --force "$container" >/dev/null 2>&1 || true
  as_root rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# bundle NAME ARGUMENT…: unpacks the image with these arguments for its program.
bundle() {
  local name=$1 flags=() argument
  shift
  for argument in "$@"; do
    flags+=("--config.cmd=$argument")
  done
  cp -r "$layout" "$work/$name.image"
  umoci config --image "$work/$name.image:$version" --clear=config.cmd "${flags[@]}"
  as_root umoci unpack --image "$work/$name.image:$version" "$work/$name" 2>/dev/null
  as_root sed -i 's/"terminal": true/"terminal": false/; s/"path": "rootfs"/"path": "rootfs", "readonly": true/' \
    "$work/$name/config.json"
}

bundle version --version
files=$(cd "$work/version/rootfs" && as_root find . -type f | sort | tr '\n' ' ')
[ "$files" = "./keypair-operator ./usr/share/licenses/keypair-operator/Cargo.lock ./usr/share/licenses/keypair-operator/LICENSE " ] ||
  die "there is more in the image than the program and its licence: $files"

# start NAME: runs the program of the bundle NAME, in the foreground.
runtime=runc
start() {
  local arguments
  case $runtime in
    runc) as_root runc --root "$work/state" run --bundle "$work/$1" "$container" ;;
    chroot)
      arguments=$(sed -n '/"args": \[/,/\]/ s/^[[:space:]]*"\(.*\)",\{0,1\}$/\1/p' "$work/$1/config.json")
      # shellcheck disable=SC2086 # one word for each
      as_root chroot --userspec="$user:$user" "$work/$1/rootfs" $arguments
      ;;
  esac
}

# A sandbox may forbid containers, whatever is in them.
bundle probe --help
user=$(as_root sed -n 's/.*"uid": \([0-9]*\).*/\1/p' "$work/probe/config.json" | head -1)
[ "${user:-0}" != 0 ] || die "the image does not say that it is run by another user than root"
if ! start probe >"$work/output" 2>&1 </dev/null && ! grep -q 'Usage: keypair-operator' "$work/output"; then
  say "runc cannot start a container on this machine, so the image is run with chroot: $(tail -1 "$work/output")"
  runtime=chroot
fi
say "it says its version"
said=$(start version </dev/null)
[ "$said" = "keypair-operator $version" ] || die "it says $said"

say "it is run by a user without rights"
bundle waiting lint -
mkfifo "$work/input"
start waiting <"$work/input" >"$work/output" 2>&1 &
exec 3>"$work/input"
# By what it was started from, which is this directory and nobody else's.
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
[ "$users" = 65532 ] || die "it is run by the users $users"
grep -q '0 KeyPairs checked' "$work/output" || die "it did not answer: $(cat "$work/output")"
say "$image is one static program, says its version, and is run by user $users"
