#!/bin/bash
# Bad input of every kind, as a user hands it in: bad_input_test.sh LONGSPAN FOLDER RANKS [JOBS]
#
# The rows are dealt out to JOBS processes (default: 1), since the end of an mpirun is mostly waiting. With ONLY="name ..." in
# the environment only these rows are run, and with SHOW=1 what each makes the program say is printed.
#
# The cases are the rows of bad_input/*.sh, each run in a folder of its own that holds a small sound run. Of every case it is
# asserted: the exit code; one line of complaint for the run, not one for each rank, which holds the given words; no crash;
# within 20 s; and that the files are as they were, with nothing beside them but logs, the lock and the exit status.
set -u
longspan=$1
folder=$2
ranks=$3
jobs=${4:-1}
part=${PART:-0} parts=${PARTS:-1}  # of a process that has been dealt its rows
only=" ${ONLY:-} "
tests=$(cd "$(dirname "$0")/.." && pwd)
golden=$tests/golden/llama_linear_tied
rows=$tests/launcher/bad_input
rm -rf "$folder"
if [ "$jobs" -gt 1 ]; then
  mkdir -p "$folder" || exit 1
  for ((job = 0; job < jobs; job++)); do
    PART=$job PARTS=$jobs "$0" "$longspan" "$folder/$job" "$ranks" >"$folder/$job.log" 2>&1 &
  done
  failures=0
  for ((job = 0; job < jobs; job++)); do wait -n || failures=1; done
  cat "$folder"/*.log
  exit "$failures"
fi
mkdir -p "$folder" && cd "$folder" || exit 1
folder=$PWD
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMP_NUM_THREADS=1 NO_COLOR=1
launch=("$tests/support/mpi_run" "$ranks" 20)
[ "$ranks" = 1 ] && launch=(timeout 20)
num_rows=0 num_cases=0 failures=0
. "$rows/files.sh"

complain() { echo "FAILED: $name: $*"; failed=1; }

# What must not change. Names alone of what is no regular file: a pipe would wait to be read. A run that has begun, and
# found its data wrong later, has written its configuration and opened its metrics.
fingerprint() {
  local new=(-path ./out -o -path './out/log*' -o -path ./out/exit_status.json -o -path ./out/lock)
  [ "$begun" = 1 ] || new+=(-o -path ./out/config.textproto -o -name '*.jsonl' -empty)
  find . -type f ! \( "${new[@]}" \) -exec cksum {} + 2>&1 | sort
  find . ! -type f ! \( "${new[@]}" \) -printf '%p %y %l\n' 2>&1 | sort
}

# run_it BEGINNING ARGUMENT...: fills `code` and the file `said` beside the folder.
run_it() {
  # Whoever may write anywhere may do so in these tests too, so it is given up (by root, which has it).
  "${launch[@]}" "${as[@]}" "$@" >../said 2>&1 </dev/null
  code=$?
}

examine() {  # EXPECTED-CODE WORD...
  local expected=$1 word lines
  shift
  lines=$(grep -ac '^longspan: ' ../said)
  [ "$code" = "$expected" ] || complain "exit code $code, not $expected"
  [ "$lines" = 1 ] || complain "$lines lines of complaint, not 1"
  for word in "$@"; do
    grep -a '^longspan: ' ../said | grep -aqF -- "$word" || complain "does not say \"$word\""
  done
  grep -aqiE 'segmentation|terminate called|sanitizer|core dumped|libprotobuf|bug in' ../said && complain "crashed"
  if [ -f out/exit_status.json ] && ! grep -q "\"code\": *$expected," out/exit_status.json; then
    complain "exit_status.json does not say $expected: $(cat out/exit_status.json)"
  fi
  [ "$(fingerprint)" = "$before" ] || { complain "files have changed:"; diff <(echo "$before") <(fingerprint); }
}

begin_case() {  # NAME PREPARATION
  name=$1 failed=0 as=() arguments=(train --config run.textproto)
  rm -rf "$folder/case" && mkdir "$folder/case" && cd "$folder/case" || exit 1
  sound_run
  eval "$2" || complain "cannot be prepared"
  [ -e out/metrics.jsonl ]
  begun=$((! $?))
  before=$(fingerprint)
}

end_case() {
  num_cases=$((num_cases + 1)) failures=$((failures + failed))
  [ "$failed" = 0 ] || cat ../said
  [ -z "${SHOW:-}" ] || sed "s/^/$name: $code: /" ../said
  chmod -R u+rwX . 2>/dev/null
  cd "$folder" || exit 1
}

wanted() {
  num_rows=$((num_rows + 1))
  [ $((num_rows % parts)) = "$part" ] && { [ "$only" = "  " ] || [[ $only == *" $1 "* ]]; }
}

# bad NAME CODE PREPARATION ARGUMENTS WORD...: `train --config run.textproto` with these arguments; both strings are shell.
bad() {
  wanted "$1" || return 0
  begin_case "$1" "$3"
  eval "arguments+=($4)"
  run_it "$longspan" "${arguments[@]}"
  examine "$2" "${@:5}"
  end_case
}

# good NAME PREPARATION ARGUMENTS: what would be bad on another machine, and has to run on this one.
good() {
  wanted "$1" || return 0
  begin_case "$1" "$2"
  eval "arguments+=($3)"
  run_it "$longspan" "${arguments[@]}"
  [ "$code" = 0 ] || complain "exit code $code, not 0"
  end_case
}

# As `bad`, where rank 1 alone is given the arguments, or works in the folder `hers` and rank 0 in `his`.
bad_on_rank_1() {
  [ "$ranks" = 2 ] && wanted "$1" || return 0
  local his=. hers=. config=run.textproto launch=("$tests/support/mpi_run" 1 20)
  begin_case "$1" "$3"
  eval "arguments=($4)"
  run_it -wdir "$his" "$longspan" train --config run.textproto --set output_directory="$PWD/out" \
    : -np 1 -wdir "$hers" "$longspan" train --config "$config" --set output_directory="$PWD/out" "${arguments[@]}"
  examine "$2" "${@:5}"
  end_case
}

for table in config overrides data megatron model weights output checkpoint ranks; do
  . "$rows/$table.sh"
done
echo "$num_cases bad inputs on $ranks ranks, $failures not answered as they should be"
[ "$failures" = 0 ] && [ "$num_cases" -gt 0 ]
