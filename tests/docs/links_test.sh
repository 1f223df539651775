#!/bin/bash
# Links of README.md and docs/ lead somewhere, anchors included: links_test.sh ROOT
set -u
root=$(cd "$1" && pwd)
. "$(dirname "$0")/pages.sh"

# Anchors as GitHub makes them of headings.
anchors() {  # FILE
  awk '/^```/ { inside = !inside } !inside && /^#+ / { sub(/^#+ +/, ""); print tolower($0) }' "$1" |
    sed 's/`//g; s/[^a-z0-9 _-]//g; s/ /-/g' | awk '{ print seen[$0]++ ? $0 "-" seen[$0] - 1 : $0 }'
}

check_link() {  # PAGE LINE TARGET
  local file=${3%%#*} anchor= path
  case $3 in
    http://* | https://*) return ;;
    *'#'*) anchor=${3#*#} ;;
  esac
  if [ -n "$file" ]; then path=$(realpath -m "$root/$(dirname "$1")/$file"); else path=$root/$1; fi
  case $path in
    "$root"/build/* | "$root"/runs/*) complain "$1:$2: $3 is not in a fresh clone"; return ;;
    "$root"/*) ;;
    *) complain "$1:$2: $3 leaves the project"; return ;;
  esac
  [ -e "$path" ] || { complain "$1:$2: $3 is not there"; return; }
  [ -z "$anchor" ] || anchors "$path" | grep -qxF -- "$anchor" || complain "$1:$2: $3: there is no heading #$anchor"
}

num_links=0
for page in $(pages); do
  while IFS=$'\t' read -r line target; do
    num_links=$((num_links + 1))
    check_link "$page" "$line" "$target"
  done < <(prose "$page" | grep -E '\]\([^)]*\)' |
    awk -F'\t' '{ rest = $0
      while (match(rest, /\]\([^)]*\)/)) {
        print $1 "\t" substr(rest, RSTART + 2, RLENGTH - 3)
        rest = substr(rest, RSTART + RLENGTH)
      } }')
done
[ "$num_links" -gt 20 ] || complain "only $num_links links were found"
finish
