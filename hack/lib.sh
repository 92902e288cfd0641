# Shared by the scripts of this directory: source it, do not run it.
#
# The tools that tests and demo need and no package registry offers as a binary are built once into a user cache,
# and each script prints on stdout only where its tool is. Everything meant for people goes to stderr.
# Written for the bash 3.2 of macOS as well, and without tools beyond POSIX, git and Go.

unset CDPATH
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
  echo "${0##*/}: $*" >&2
}

die() {
  say "$@"
  exit 1
}

# Where what is built stays between runs. Each entry has a name of its own and may be deleted at any time.
cache_dir() {
  echo "${KEYPAIR_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or KEYPAIR_CACHE}/.cache}/keypair-operator}"
}

# A short name for whatever comes on stdin: the same input, the same name.
fingerprint() {
  git hash-object --stdin | cut -c1-16
}

# require COMMAND URL: ends the script if the command is not there.
require() {
  command -v "$1" >/dev/null || die "$1 is not installed; see $2"
}

# use_instead VARIABLE: if the variable is set, prints it and ends the script, so that nothing is built.
use_instead() {
  if [ -n "${!1:-}" ]; then
    echo "${!1}"
    exit
  fi
}

# How the image's program is compiled: static, and without a path of this machine.
static_flags() {
  echo "-C target-feature=+crt-static --remap-path-prefix=$root=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
}

elapsed() {
  printf '%dm%02ds' $((SECONDS / 60)) $((SECONDS % 60))
}

# build_once NAME FUNCTION
#
# Makes the cache entry NAME by calling FUNCTION with an empty directory to fill, unless the entry exists, and sets
# `entry` to its path. The directory gets its name only when FUNCTION has succeeded, so an entry is always complete.
# A second run waits for the first. (The lock is a symbolic link to the holder's process id, which any system makes
# atomically and which tells whether the holder is still there. Should two runs win it all the same, both build and
# the later one's result is dropped.)
build_once() {
  local name=$1 build=$2 cache holder waited=''
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
    [ -n "$waited" ] || say "waiting for the build of process ${holder#pid-} (if there is none, remove $lock)"
    waited=yes
    sleep 1
  done
  child=''
  unfinished=$(mktemp -d "$cache/$name.XXXXXX")
  trap 'clean_up' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP

  # What we waited for may have appeared.
  if [ ! -d "$entry" ]; then
    "$build" "$unfinished"
    chmod 755 "$unfinished"
    [ -d "$entry" ] || mv "$unfinished" "$entry"
  fi
  clean_up
  trap - EXIT INT TERM HUP
}

# Ends a build that still runs and removes what it left.
clean_up() {
  if [ -n "$child" ]; then
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
    child=''
  fi
  # The compilers of a build that was ended may write for another moment.
  rm -rf "$unfinished"* 2>/dev/null || { sleep 1 && rm -rf "$unfinished"*; }
  if [ "$(readlink "$lock" || true)" = "pid-$$" ]; then
    rm -f "$lock"
  fi
}

# watch_build COMMAND...
#
# Runs a `go build -v`, `go install -v` or `cargo install` and tells every half a minute how far it is: Go and Cargo
# print a line for each module or crate they download and for each one they compile. Ends the script with the end of
# that output if it fails.
watch_build() {
  local log=$unfinished.log next=30 status=0
  SECONDS=0
  # Go leaves its temporary files when it is ended; here clean_up finds them.
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

# missing TOOL…: prints those that are not installed.
missing() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || printf '%s ' "$tool"
  done
}

# as_root COMMAND…: as root, or with a sudo that asks no password.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo -n "$@"
  fi
}

# Whether packages of Debian or Ubuntu can be installed.
can_install() {
  command -v apt-get >/dev/null && as_root true 2>/dev/null
}

# install_packages PACKAGE…
install_packages() {
  say "installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}
