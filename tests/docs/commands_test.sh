#!/bin/bash
# Commands of README.md and docs/ are such as the program takes: commands_test.sh ROOT LONGSPAN
#
# Each call of longspan is made up to the point where its configuration is read: a number that is out of range, added at
# the end, must be all that the program finds wrong. Whatever else a bash block holds is read by bash -n.
set -u
root=$(cd "$1" && pwd)
longspan=$(realpath "$2")
. "$(dirname "$0")/pages.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Configurations that a page writes, beside those of the project.
cp -r "$root/configs" "$scratch/configs"
mkdir -p "$scratch/tests" && ln -s "$root/tests/golden" "$scratch/tests/golden"
cd "$scratch" || exit 1

# Calls of the program in what a shell would read, without redirections and comments; a batch script trains.
calls() {
  sed -E 's/longspan\.sbatch /longspan train /' | grep -E '(^|/)longspan (-|[a-z])' |
    sed -E 's/.*longspan (-|[a-z])/longspan \1/; s/ +[0-9]?[>|&].*//; s/ +#.*//'
}

is_command() {  # WHERE WORD
  "$longspan" --help | grep -qE "^ +$2 " || { complain "$1: longspan has no command $2"; return 1; }
}

# The words after the program, as a shell splits them.
call() {  # WHERE COMMAND
  local where=$1 words said
  set +u  # variables of loops are not set here
  eval "words=(${2#*longspan })" 2>/dev/null || { complain "$where: a shell cannot read: $2"; return; }
  set -u
  case ${words[0]} in
    --help | --version) said=$("$longspan" "${words[0]}" 2>&1) || complain "$where: $said"; return ;;
  esac
  is_command "$where" "${words[0]}" || return
  "$longspan" "${words[0]}" --help | grep -q -- --set || return 0
  said=$("$longspan" "${words[@]}" --set training.steps=0 2>&1)
  grep -vE '^longspan: (--set training.steps=0: training.steps: is 0; allowed|training: bench )' <<<"$said" >wrong
  [ ! -s wrong ] || complain "$where: longspan ${words[*]}: $(cat wrong)"
}

num_calls=0
for page in $(pages); do
  while IFS= read -r -d '' entry; do
    line=${entry%%$'\t'*} command=${entry#*$'\t'}
    bash -n <<<"$command" 2>syntax || complain "$page:$line: $(cat syntax)"
    case $command in
      cat\ \>*'<<'*) eval "$command" ;;
      *)
        while IFS= read -r one; do
          num_calls=$((num_calls + 1))
          call "$page:$line" "$one"
        done < <(calls <<<"$command")
        ;;
    esac
  done < <(commands "$page")
  while IFS=$'\t' read -r line word; do is_command "$page:$line" "$word"; done < <(
    spans "$page" | sed -n 's/^\([0-9]*\tlongspan \)\([a-z]*\).*/\1\2/p' | sed 's/longspan //' | grep '[a-z]$')
done
[ "$num_calls" -gt 8 ] || complain "only $num_calls calls of longspan were found"
finish
