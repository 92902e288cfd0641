# shellcheck shell=bash
# Functions for the scripts of this directory: source this file, do not run it.
#
# If no package registry offers a tool as a binary, its script builds it once into a user cache, and prints only its path on
# stdout. Messages go to stderr. The functions support bash 3.2 (macOS), and need no tools beyond POSIX, git and Go.

unset CDPATH
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
  echo "${0##*/}: $*" >&2
}

die() {
  say "$@"
  exit 1
}

# Prints the directory of the build cache. You can delete its entries at any time.
cache_dir() {
  echo "${KEYPAIR_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or KEYPAIR_CACHE}/.cache}/keypair-operator}"
}

# Prints a short name for the contents of stdin: the same input gives the same name.
fingerprint() {
  git hash-object --stdin | cut -c1-16
}

# require COMMAND URL: ends the script if the command is not installed.
require() {
  command -v "$1" >/dev/null || die "$1 is not installed; see $2"
}

# use_instead VARIABLE: if the variable is set, prints its value and ends the script, so that nothing is built.
use_instead() {
  if [ -n "${!1:-}" ]; then
    echo "${!1}"
    exit
  fi
}

# Prints the compiler flags of the image's program: static, and without paths of this machine.
static_flags() {
  echo "-C target-feature=+crt-static --remap-path-prefix=$root=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
}

elapsed() {
  printf '%dm%02ds' $((SECONDS / 60)) $((SECONDS % 60))
}

# build_once NAME FUNCTION [ARGUMENT…]
#
# Sets `entry` to the path of the cache entry NAME. If the entry does not exist, calls FUNCTION with the arguments and an empty directory to
# fill, and renames the directory only after FUNCTION has succeeded, so an entry is always complete. A second run waits for the first. (The lock
# is a symbolic link to the holder's process id: every system creates it atomically, and the id shows whether the holder still runs. If
# two runs get the lock nevertheless, both build, and the later result is discarded.)
build_once() {
  local name=$1 build=$2 cache holder waited=''
  shift 2
  cache=$(cache_dir)
  entry=$cache/$name
  [ ! -d "$entry" ] || return 0
  mkdir -p "$cache"

  lock=$cache/$name.lock
  until ln -s "pid-$$" "$lock" 2>/dev/null; do
    holder=$(readlink "$lock" || true)
    if [ -n "$holder" ] && ! kill -0 "${holder#pid-}" 2>/dev/null; then
      rm -f "$lock"
      continue
    fi
    [ -n "$waited" ] || say "waiting for the build of process ${holder#pid-} (if no such process builds, remove $lock)"
    waited=yes
    sleep 1
  done
  child=''
  unfinished=$(mktemp -d "$cache/$name.XXXXXX")
  trap 'clean_up' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  # Another run may have finished the build.
  if [ ! -d "$entry" ]; then
    "$build" "$@" "$unfinished"
    chmod 755 "$unfinished"
    [ -d "$entry" ] || mv "$unfinished" "$entry"
  fi
  clean_up
  trap - EXIT INT TERM HUP
}

# Stops a running build and removes its files.
clean_up() {
  if [ -n "$child" ]; then
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
    child=''
  fi
  # Compilers of a stopped build may still write for a moment.
  rm -rf "$unfinished"* 2>/dev/null || { sleep 1 && rm -rf "$unfinished"*; }
  if [ "$(readlink "$lock" || true)" = "pid-$$" ]; then
    rm -f "$lock"
  fi
}

# watch_build COMMAND...
#
# Runs `go build -v`, `go install -v` or `cargo install`, and reports progress every 30 seconds: Go and Cargo print a line for each
# module or crate that they download or compile. If the build fails, prints the end of its output and ends the script.
watch_build() {
  local log=$unfinished.log next=30 status=0
  SECONDS=0
  # Go does not remove its temporary files when it is stopped; clean_up removes them here.
  mkdir "$unfinished.work"
  GOTMPDIR=$unfinished.work "$@" >"$log" 2>&1 &
  child=$!
  while kill -0 "$child" 2>/dev/null; do
    sleep 1
    if [ "$SECONDS" -ge "$next" ]; then
      next=$((next + 30))
      say "$(elapsed): $(grep -cE '^(go: downloading| *Downloaded) ' "$log" || true) modules downloaded," \
        "$(grep -vcE '^go: |^ *(Downloaded|Downloading|Updating|Installing) ' "$log" || true) packages compiled"
    fi
  done
  wait "$child" || status=$?
  child=''
  if [ "$status" -ne 0 ]; then
    say "the build failed after $(elapsed); the end of its output:"
    tail -n 30 "$log" >&2
    exit "$status"
  fi
  say "built in $(elapsed)"
}

# build_go_program NAME WHAT TIME
#
# Prints the path of the program in tests/NAME, and builds it first if necessary. WHAT says what it is, TIME how long the build takes after
# that of the control plane, with which such programs share most packages.
build_go_program() {
  local key
  require go https://go.dev/dl
  cd "$root/tests/$1" || exit
  export GOWORK=off
  key=$({ cat ./*.go go.mod go.sum "$root/hack/$1.sh" && go version; } | fingerprint)
  build_once "$1-$key" compile_go_program "$@"
  echo "$entry/$1"
}

# compile_go_program NAME WHAT TIME DIRECTORY
compile_go_program() {
  say "building $2 into $entry"
  say "this takes $3 after the control plane, with which it shares most packages, otherwise some minutes; later runs reuse the build"
  watch_build go build -v -trimpath -buildvcs=false -ldflags "-s -w" -o "$4/$1" .
}

# missing TOOL…: prints the tools that are not installed.
missing() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || printf '%s ' "$tool"
  done
}

# as_root COMMAND…: runs the command as root, if necessary with a sudo that needs no password.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo -n "$@"
  fi
}

# Succeeds if packages of Debian or Ubuntu can be installed.
can_install() {
  command -v apt-get >/dev/null && as_root true 2>/dev/null
}

# install_packages PACKAGE…
install_packages() {
  say "installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}
