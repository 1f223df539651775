#!/bin/bash
# The tables of docs/ are what the program `course` prints today: tables_test.sh ROOT COURSE
set -u
root=$(cd "$1" && pwd)
course=$2
. "$(dirname "$0")/pages.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

compare() {  # WHERE COMMAND, with the page's table in $scratch/shown
  local words
  read -ra words <<<"${2#*course }"
  timeout 30 "$course" "${words[@]}" >"$scratch/printed" 2>&1 || complain "$1: $2: exit code $?"
  diff "$scratch/shown" "$scratch/printed" >"$scratch/difference" ||
    { complain "$1: $2 (page < > program)"; cat "$scratch/difference"; }
}

num_tables=0
for page in $(pages); do
  where= command=
  while IFS= read -r entry; do
    text=${entry#*$'\t'}
    if [[ $text == '$ '*course\ * ]]; then
      where=$page:${entry%%$'\t'*} command=$text
      : >"$scratch/shown"
    elif [ -n "$entry" ]; then
      echo "$text" >>"$scratch/shown"
    elif [ -n "$command" ]; then
      num_tables=$((num_tables + 1))
      compare "$where" "$command"
      command=
    fi
  done < <(blocks console "$page")
done
[ "$num_tables" -gt 8 ] || complain "only $num_tables tables were found"
finish
