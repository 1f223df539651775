#!/bin/bash
# What README.md and docs/ name exists: files, tests, fields, identifiers, and every line of source that they quote:
# names_test.sh ROOT
#
# A numbered page must name files and tests, and end with an exercise.
set -u
root=$(cd "$1" && pwd)
. "$(dirname "$0")/pages.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$root" || exit 1

files_of_project >"$scratch/files"
grep -E '\.(h|cc|proto|sh|txt|textproto|cmake|sbatch)$|^launcher/quickstart$|^tests/run$' "$scratch/files" |
  grep -v '^tests/docs/.*\.sh$' >"$scratch/sources"
xargs grep -hoE '[A-Za-z_][A-Za-z0-9_]*' <"$scratch/sources" | sort -u >"$scratch/words"
xargs cat <"$scratch/sources" | sed 's/^ *//; s/ *$//' | sort -u >"$scratch/lines"
# Every test as Suite.Name, every program and script of tests by its name.
grep '^tests/.*\.cc$' "$scratch/sources" | xargs grep -hoE '^TEST(_F|_P)?\([A-Za-z0-9]+, [A-Za-z0-9]+' |
  sed -E 's/.*\(//; s/, /./' | sort -u >"$scratch/tests"
grep '^tests/.*CMakeLists.txt$' "$scratch/sources" |
  xargs grep -hoE '(longspan_(mpi_)?test\(|NAME |add_executable\()[a-z_0-9.]+' |
  sed -E 's/.*[( ]//' | sort -u >"$scratch/programs"

declare -A words=()
while read -r word; do words[$word]=1; done <"$scratch/words"
is_word() { [ -n "${words[$1]:-}" ]; }

check_path() {  # WHERE PATH
  local one
  for one in $(eval "printf '%s ' $2"); do  # braces and globs, as a shell reads them
    [ -e "$one" ] || complain "$1: $2 is not there"
  done
}

check_span() {  # WHERE SPAN
  local where=$1 span=$2 part
  case $span in
    *[\ \"\'\;\<\>\$\(\)]*) [[ $span =~ ^[A-Za-z_:]+\(\)$ ]] || return ;;
    build/* | runs/* | /* | ~* | _* | -* | *://* | *.[0-9]*.*) return ;;
    snake_case | PascalCase | kPascalCase) return ;;  # styles of names
  esac
  if [[ $span =~ ^[a-z_0-9.]*/?[A-Z][A-Za-z0-9]+\.([A-Z][A-Za-z0-9]+|\*)$ ]]; then  # a test
    part=${span##*/}
    grep -qE "^${part%.*}\.${part##*.}$" <(sed 's/\*/.*/' "$scratch/tests") && return
    [[ $part == *'.*' ]] && grep -q "^${part%.*}\." "$scratch/tests" && return
    complain "$where: there is no test $span"
  elif [[ $span =~ ^[a-z0-9_]+_test(\.[a-z0-9_]+)?$ ]]; then
    grep -qxF -- "${span%%.*}" "$scratch/programs" || complain "$where: there is no test program $span"
  elif [[ $span =~ ^(core|parallel|attention|model|train|launcher|configs|cluster|tests|docs|cmake)/ ]] ||
    [[ $span =~ /.*\.(h|cc|md|sh|proto|textproto)$ ]]; then
    check_path "$where" "$span"
  elif [[ $span =~ ^[a-z_0-9]+(\.[a-z_0-9]+)+$ ]]; then  # a field, or a file that a run leaves
    for part in ${span//./ }; do
      is_word "$part" || complain "$where: $span: nothing is called $part"
    done
  elif [[ $span =~ ^[A-Za-z_][A-Za-z0-9_]*(::[A-Za-z_][A-Za-z0-9_]*)*(\(\))?$ ]]; then
    [[ ${span%\(\)} =~ _|::|[a-z][A-Z]|\(\) || $span =~ \(\)$ ]] || return  # plain words are words
    span=${span%\(\)}
    for part in ${span//::/ }; do
      is_word "$part" || complain "$where: $span: nothing in the sources is called $part"
    done
  fi
}

num_spans=0
for page in $(pages); do
  while IFS=$'\t' read -r line span; do
    num_spans=$((num_spans + 1))
    check_span "$page:$line" "$span"
  done < <(spans "$page" | sort -u)
  # Quoted source is there, line by line; so is what a change takes away.
  while IFS=$'\t' read -r line text; do
    text=$(sed 's/^ *//; s/ *$//' <<<"$text")
    [ -z "$text" ] || [ "$text" = ... ] || grep -qxF -- "$text" "$scratch/lines" ||
      complain "$page:$line: no source has the line: $text"
  done < <(blocks cpp "$page")
  file=
  while IFS=$'\t' read -r line text; do
    case $text in
      '--- a/'*) file=${text#--- a/}; [ -e "$file" ] || complain "$page:$line: $file is not there" ;;
      '+'* | '') ;;
      *)
        text=$(sed 's/^. *//; s/ *$//' <<<"$text")
        sed 's/^ *//; s/ *$//' "$file" | grep -qxF -- "$text" || complain "$page:$line: $file has no line: $text"
        ;;
    esac
  done < <(blocks diff "$page")
  case $page in
    docs/0*)
      grep -q '^## Exercise' "$page" || complain "$page has no exercise"
      spans "$page" | grep -qE '[A-Z][A-Za-z0-9]+\.[A-Z]' || complain "$page names no test"
      prose "$page" | grep -qE '\.\./[a-z_/]+\.(h|cc)\)' || complain "$page names no file"
      ;;
  esac
done
[ "$num_spans" -gt 100 ] || complain "only $num_spans code spans were found"
finish
