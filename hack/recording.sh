#!/usr/bin/env bash
# Records hack/demo.sh as docs/demo.svg: runs it, and writes each line of its output with the time at which it appeared into an SVG that
# plays by itself in a browser. Where nothing is animated, it shows all lines. Needs bash 5, for the time of a line, and no service.
#   PROGRAMS  directory of the programs, if they have been built
set -euo pipefail
# shellcheck source=hack/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$root"

[ -n "${EPOCHREALTIME:-}" ] || die "this bash does not tell the time of a line: use bash 5"
lines=$(mktemp "${TMPDIR:-/tmp}/keypair-recording.XXXXXX")
trap 'rm -f "$lines" "$lines.svg"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

KEEP='' CLICOLOR_FORCE=1 hack/demo.sh | while IFS= read -r line; do
  # Some locales write the fraction with a comma.
  printf '%s\t%s\n' "${EPOCHREALTIME/,/.}" "$line"
done >"$lines"

# The recording is for everybody: it has no names of this machine, and fits on one screen.
private=("$root" "${TMPDIR:-/tmp}" "$(uname -n)" "${HOME:-$root}")
for name in "${private[@]}"; do
  ! grep -F -e "$name" "$lines" >&2 || die "the lines above contain '$name', which belongs to this machine"
done
! LC_ALL=C grep -v $'^[\t\033 -~]*$' "$lines" >&2 || die "the lines above contain characters that are not ASCII, whose width is unknown"

LC_ALL=C awk -F '\t' -v most_lines=50 -v most_columns=110 '
  BEGIN {
    # Of a character and a line, in a font of 12 pixels.
    column = 7.2; height = 17; margin = 16
    # Seconds: the longest wait, and the time to read before the next command and the next title.
    longest = 2; command = 0.7; title = 1.2
  }
  function escaped(text) {
    gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text)
    return text
  }
  {
    text = $2
    kind = ""
    if (sub(/^\033\[1m/, "", text)) kind = text ~ /^\$ / ? "command" : "title"
    gsub(/\033\[[0-9]*m/, "", text)
    wait = NR == 1 ? 0 : $1 - before
    if (wait > longest) wait = longest
    if (kind == "command" && wait < command) wait = command
    if (kind == "title" && wait < title) wait = title
    before = $1
    now += wait
    y = margin + NR * height - 4
    if (length(text) > most_columns) { print "line " NR " has " length(text) " columns: " text >"/dev/stderr"; failed = 1 }
    # The length keeps columns aligned, whatever font the reader has.
    if (text != "")
      body = body sprintf("<text%s x=\"%d\" y=\"%d\" textLength=\"%.1f\" style=\"animation-delay:%.2fs\">%s</text>\n",
        kind == "" ? "" : " class=\"" kind "\"", margin, y, length(text) * column, now, escaped(text))
  }
  END {
    if (NR > most_lines) { print NR " lines" >"/dev/stderr"; failed = 1 }
    if (failed) exit 1
    width = most_columns * column + 2 * margin
    bottom = NR * height + 2 * margin
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" xml:space=\"preserve\">\n", width, bottom, width, bottom
    print "<title>A recording of make demo</title>"
    print "<style>"
    print "text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, \"DejaVu Sans Mono\", monospace; fill: #1f2328; white-space: pre; animation: appear 1ms backwards }"
    print ".command { fill: #0550ae }"
    print ".title { fill: #1a7f37; font-weight: bold }"
    print "rect { fill: #f6f8fa; stroke: #d1d9e0 }"
    print "@keyframes appear { from { opacity: 0 } }"
    print "@media (prefers-color-scheme: dark) { text { fill: #d1d7e0 } .command { fill: #79c0ff } .title { fill: #56d364 } rect { fill: #161b22; stroke: #3d444d } }"
    print "@media (prefers-reduced-motion: reduce) { text { animation: none } }"
    print "</style>"
    printf "<rect x=\"0.5\" y=\"0.5\" width=\"%d\" height=\"%d\" rx=\"6\"/>\n", width - 1, bottom - 1
    printf "%s</svg>\n", body
  }
' "$lines" >"$lines.svg" || die "the output of the demo does not fit on the screen"
[ "$(wc -c <"$lines.svg")" -le 100000 ] || die "the recording is larger than 100 kB"
cp "$lines.svg" docs/demo.svg
say "docs/demo.svg is written"
