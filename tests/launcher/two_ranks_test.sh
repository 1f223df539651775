#!/bin/bash
# Whole runs on two ranks, as their users start them: two_ranks_test.sh LONGSPAN FOLDER SILENT_RANK
set -u
longspan=$1
folder=$2
silent_rank=$3
tests=$(cd "$(dirname "$0")/.." && pwd)
golden=$tests/golden/llama
rm -rf "$folder"
mkdir -p "$folder" && cd "$folder" || exit 1
export OMPI_MCA_btl_vader_single_copy_mechanism=none NO_COLOR=1
failures=0
complain() { echo "FAILED: $*"; failures=$((failures + 1)); }

two() { "$tests/support/mpi_run" 2 60 "$longspan" "$@"; }

# expect CODE TEXT WITHIN_SECONDS COMMAND...
expect() {
  local code=$1 text=$2 within=$3 actual begin=$SECONDS
  shift 3
  "$@" >said 2>&1 </dev/null
  actual=$?
  [ "$actual" = "$code" ] || { complain "exit code $actual, not $code: $*"; cat said; }
  grep -qF -- "$text" said || { complain "does not say \"$text\": $*"; cat said; }
  [ $((SECONDS - begin)) -le "$within" ] || complain "took $((SECONDS - begin)) s, not $within: $*"
}
expect_status() {
  grep -q "\"code\": *$2," "$1/exit_status.json" ||
    complain "$1/exit_status.json does not say $2: $(cat "$1/exit_status.json")"
}
expect_no_result() { [ -z "$(find "$1/checkpoints" "$1/metrics.jsonl" 2>/dev/null)" ] || complain "$1 has a result"; }
until_true() { for _ in $(seq 300); do eval "$1" && return; sleep 0.1; done; complain "never came true: $1"; }
column() { sed -n "s/.*\"$1\": *\([^,}]*\).*/\1/p" "$2/metrics.jsonl"; }
steps_of() { wc -l 2>/dev/null <"$1/metrics.jsonl" || echo 0; }

yes 'It was a bright cold day in April, and the clocks were striking thirteen.' | head -c 30000 >text
cat >run.textproto <<'CONFIG'
model { hidden_size: 16 num_layers: 2 num_heads: 2 num_kv_heads: 1 head_dim: 8 mlp_size: 32 }
data { files: "text" sequence_length: 128 holdout_every: 0 }
evaluation { files: "text" max_sequences: 2 }
optimizer { schedule: CONSTANT }
metrics { tensorboard: false plot: false }
CONFIG
run() { echo --config run.textproto --set "output_directory=$1"; }
# The rank RANK of the run in FOLDER, so that a signal reaches one rank alone.
rank_of() {  # RANK FOLDER
  local pid
  for pid in $(pgrep -f "^$longspan .*output_directory=$2( |\$)"); do
    tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$1" && echo "$pid"
  done
}

# A run that is stopped and started again is the run that was not, to the last bit; and so is a repetition.
for signal in TERM USR1; do
  two train $(run $signal) --set training.steps=1000000 >said 2>&1 &
  job=$!
  until_true "[ \$(steps_of $signal) -ge 3 ]"
  kill -$signal "$(rank_of 1 $signal)"
  wait $job
  code=$?
  [ "$code" = 85 ] || { complain "after SIG$signal the exit code is $code, not 85"; cat said; }
  expect_status $signal 85
done
steps=$((5 + ($(steps_of TERM) > $(steps_of USR1) ? $(steps_of TERM) : $(steps_of USR1))))
for run in TERM USR1 whole again; do expect 0 "step $steps/$steps" 30 two train $(run $run) --set training.steps=$steps; done
for column in loss grad_norm; do
  [ "$(column $column whole | wc -l)" = "$steps" ] || complain "the whole run lacks steps"
  for run in TERM USR1 again; do
    [ "$(column $column whole)" = "$(column $column $run)" ] || complain "$column of $run differs from the whole run"
  done
done
expect 0 "nothing left to do: training.steps is $steps" 20 two train $(run whole) --set training.steps=$steps

# AUTO goes on with the scheme of the checkpoint, whoever chose it, to the last bit.
long() { two train $(run "$1") --set mesh.context=2 --set "context.scheme=$2" --set training.steps="$3"; }
expect 0 'step 2/2' 30 long scheme ALL_TO_ALL 2
expect 0 'context.scheme: AUTO is ALL_TO_ALL, that of the checkpoint' 30 long scheme AUTO 4
expect 0 'step 4/4' 30 long scheme_whole ALL_TO_ALL 4
[ "$(column loss scheme)" = "$(column loss scheme_whole)" ] || complain "AUTO did not go on as ALL_TO_ALL"
grep -q 'scheme: ALL_TO_ALL' scheme/config.textproto || complain "the configuration does not name the scheme"
expect 0 'context.scheme: AUTO is ' 30 long chosen AUTO 2
chosen=$(sed -n 's/.*context.scheme: AUTO is \([A-Z_]*\).*/\1/p' said)
expect 0 "context.scheme: AUTO is $chosen" 30 long chosen AUTO 4
grep -q 'that of the checkpoint' said || { complain "AUTO was chosen again"; cat said; }

# A resume that is refused, and other commands that fail, leave what the run left.
cp whole/config.textproto before && cp whole/exit_status.json status_before
expect 4 'checkpoint' 20 "$longspan" evaluate $(run whole) --set model.hidden_size=32
expect 2 'generation.prompt' 20 "$longspan" generate $(run whole)
cmp -s status_before whole/exit_status.json || complain "a command that failed changed the exit status of the training"
expect 4 'checkpoint' 20 two train $(run whole) --set model.hidden_size=32 --set training.steps=$((steps + 1))
cmp -s before whole/config.textproto || complain "a refused resume changed config.textproto"
expect_status whole 4

# Two runs in one folder, and commands without anything to save that are stopped.
two train $(run busy) --set training.steps=1000000 >said_busy 2>&1 &
job=$!
until_true '[ $(steps_of busy) -ge 1 ]'
pid=$(rank_of 0 busy)
expect 2 "(pid $pid on $(hostname))" 20 "$longspan" train $(run busy)
expect 2 "is in use by another run" 20 two train $(run busy)
expect 2 'no field' 20 "$longspan" train $(run busy) --set sed=1
expect 2 'training.steps' 20 "$longspan" train $(run busy) --set training.steps=0
[ ! -e busy/exit_status.json ] || complain "a run that was refused wrote the exit status of another"
kill -TERM "$pid"
wait $job
[ $? = 85 ] || complain "a run is disturbed by another that was refused"
for signal in USR1 INT TERM; do
  rm -f generated said  # or what the last one wrote would be taken for this one's
  env --default-signal=INT "$longspan" generate $(run USR1) --set generation.prompt=a --set generation.max_tokens=1000000 \
    >generated 2>said </dev/null &
  job=$!
  until_true '[ -s generated ]'
  kill -$signal $job
  wait $job
  code=$?
  [ "$code" = 130 ] && grep -q 'stopped by a signal' said ||
    { complain "after SIG$signal, generate ended with $code"; cat said; }
done

sed '/^model/d' run.textproto >import.textproto
# A rank that never comes to the first agreement: the other says so and ends the run.
# shellcheck disable=SC2046  # words
expect 6 'no answer within 1 s' 20 "$tests/support/mpi_run" 1 30 \
  "$longspan" train $(run alone) --set communication.timeout_seconds=1 : -np 1 "$silent_rank"

# What is broken is named, on every number of ranks, within seconds.
mkdir -p cut empty && cp "$golden/config.json" cut && head -c 100000 "$golden/model.safetensors" >cut/model.safetensors
imports() { echo --config import.textproto --set "output_directory=$1" --set model.from_huggingface=cut; }
expect 4 'cut/model.safetensors' 20 two train $(imports torn)
expect_status torn 4
expect_no_result torn
expect 3 'nowhere' 10 two train $(run no_data) --set data.files=nowhere
expect_status no_data 3
expect 3 'empty' 10 two train $(run no_data) --set data.files=empty
expect_no_result no_data
expect 2 'x context 3 x tensor 1 has 3 ranks, but this run has 2' 10 two train $(run mesh) --set mesh.context=3
[ ! -e mesh ] || complain "a mesh that was refused left a folder"
printf 'seed: 1\nmodel {\n  hiden_size: 16\n}\n' >misspelt.textproto
expect 2 'misspelt.textproto:3:3: model has no field "hiden_size"; did you mean "hidden_size"?' \
  10 two train --config misspelt.textproto

# The golden model, through the program and its configuration.
header=$(od -An -tu8 -N8 "$golden/expected_logits.safetensors" | tr -d ' ')
offsets=$(tail -c +9 "$golden/expected_logits.safetensors" | head -c "$header" |
  sed 's/.*"tokens":{[^}]*"data_offsets":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/')
tail -c +$((9 + header + ${offsets% *})) "$golden/expected_logits.safetensors" |
  head -c $((${offsets#* } - ${offsets% *})) >tokens.u32
expect 0 'step 8/8' 50 two train --config "$tests/../configs/golden.textproto" --set output_directory=golden \
  --set model.from_huggingface="$golden" --set data.files=tokens.u32 --set data.format=TOKENS_U32
tr -d ' \n' <"$golden/expected.json" | sed 's/.*"loss_and_grad_norm":\[\[\(.*\)\]\].*/\1/; s/\],\[/\n/g' >expected
echo >>expected
paste -d, expected <(column loss golden) <(column grad_norm golden) | awk -F, '
  function off(a, b) { return (a > b ? a - b : b - a) / b }
  off($3, $1) > (NR == 1 ? 1e-6 : 1e-5) || off($4, $2) > 1e-5 { print "step " NR ": " $0; bad = 1 }
  END { exit bad || NR != 8 }' || complain "the golden run differs (expected loss, norm; found loss, norm)"

# The precision that is faster, and the one that a run has begun with.
expect_precision() { grep -qx "precision: $2" "$1/config.textproto" || complain "$1 is not in $2: $(cat "$1/config.textproto")"; }
expect 0 'precision: AUTO is FP32: not every rank' 20 two train $(run fast) --set precision=AUTO --set cpu.level=PORTABLE \
  --set training.steps=2
expect_precision fast FP32
expect 0 'precision: AUTO is FP32, that of the checkpoint' 20 two train $(run fast) --set precision=AUTO --set training.steps=4
expect_precision fast FP32
expect 0 'step 2/2' 20 two train $(run coarse) --set precision=BF16 --set training.steps=2
expect 0 'is BF16, that of the checkpoint; with these processors FP32 would be faster' 20 two train $(run coarse) \
  --set precision=AUTO --set cpu.level=PORTABLE --set training.steps=4
expect_precision coarse BF16
expect 0 'precision: AUTO is BF16, that of the checkpoint' 20 two evaluate $(run coarse) --set precision=AUTO
grep -qF 'held out' said || { complain "evaluate says nothing"; cat said; }
expect 0 'precision: AUTO is BF16, that of the checkpoint' 20 "$longspan" generate $(run coarse) --set precision=AUTO \
  --set generation.prompt=a --set generation.max_tokens=1
expect 0 'precision: AUTO is FP32: not every rank' 20 two verify $(run coarse) --set precision=AUTO --set cpu.level=PORTABLE

# Where the time went: the parts of each step add up to it; and the trace of a step, and the pictures.
expect 0 'trace of steps 2 to 2: traced/trace/steps_00000002_to_00000002.json' 30 two train $(run traced) \
  --set training.steps=4 --set metrics.trace_steps=1 --set data.sequence_length=1024 --set metrics.plot=true
if command -v gnuplot >/dev/null; then
  grep -qF 'plots: loss.svg, memory.svg and time.svg in traced/plot' said || { complain "no plots"; cat said; }
  for picture in loss memory time; do grep -q '</svg>' traced/plot/$picture.svg || complain "$picture.svg is cut"; done
else
  grep -qF 'no plots: gnuplot is not installed' said || { complain "gnuplot is not missed"; cat said; }
fi
[ -s traced/plot/plot.gp ] && [ "$(wc -l <traced/plot/steps.tsv)" = 5 ] || complain "no script or no table of the plots"
paste -d' ' <(column step_seconds traced) <(column compute_seconds traced) <(column communication_exposed_seconds traced) \
  <(column data_seconds traced) | awk '
  { sum = $2 + $3 + $4; if (sum > 1.02 * $1 || sum < 0.98 * $1) { print "step " NR ": " $0; ++bad } }
  END { exit bad > 2 || NR != 4 }' || complain "the parts of a step do not add up to it"
for rank in 0 1; do
  [ "$(grep -c "\"name\":\"attention forward\".*\"pid\":$rank," traced/trace/*.json)" = 4 ] ||
    complain "the trace lacks compute of rank $rank"
done
sed 's/.*"labels":"clock within \([0-9.]*\) us.*/\1/;t;d' traced/trace/*.json | awk '
  $1 > 100000 { bad = 1 } END { exit bad || NR != 2 }' || complain "the ranks' clocks are not on one line"

# The ring benchmark on many ranks and on one.
bench() {
  echo bench ring --set data.sequence_length=256 --set model.num_heads=2 --set model.head_dim=8 --set threads_per_rank=1
}
expect 0 '2 ranks  256 tokens  heads 2/2 x 8' 20 two $(bench)
[ "$(grep -c GFLOP said)" = 4 ] || complain "bench ring has not four lines"
expect 0 '1 ranks  256 tokens' 20 "$longspan" $(bench)
expect 2 'runs on one rank' 20 two bench attention
expect 2 'device: CPU and CUDA on different ranks' 20 "$tests/support/mpi_run" 2 60 bash -c \
  'd=(CPU CUDA); exec "$0" train --config run.textproto --set output_directory=devices --set "device=${d[OMPI_COMM_WORLD_RANK]}"' \
  "$longspan"
expect 0 '2 threads, portable' 60 "$longspan" bench gemm --set device=CPU --set threads_per_rank=2 --set cpu.level=PORTABLE \
  --set model.hidden_size=8 --set data.sequence_length=16
[ "$(grep -c '^\(forward\|input gradient\|weight gradient\) .*% of' said)" = 24 ] || complain "bench gemm has not a line for each product"
expect 0 'bfloat16' 60 "$longspan" bench gemm --set device=CPU --set precision=AUTO --set model.hidden_size=8 --set data.sequence_length=16
[ "$(grep -c '^forward  *float32 ' said)" = 4 ] || complain "with AUTO, bench gemm does not measure float32, too"
expect 0 'loss  bfloat16 ' 60 "$longspan" bench loss --set device=CPU --set model.hidden_size=8 --set model.vocabulary_size=40 \
  --set memory.loss_tile_tokens=16
[ "$(grep -c '^loss .* GFLOP/s a core .*% of' said)" = 2 ] || complain "bench loss has not a line for each precision"
expect 0 'causal MFU' 60 "$longspan" bench step --set device=CPU --set model.hidden_size=16 --set model.num_layers=1 \
  --set data.sequence_length=32 --set precision=FP32
grep -q '^step  float32   1 layers of 16, .* 1 x 32 tokens: .* tokens/s$' said || complain "bench step does not say what it did"
expect 2 'model.head_dim: is 3' 20 "$longspan" bench step --set device=CPU --set model.head_dim=3

if [ "$failures" = 0 ]; then echo "all as expected"; else echo "$failures failed"; exit 1; fi
