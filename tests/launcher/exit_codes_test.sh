#!/bin/bash
# How the program ends and what it says, as its users see it: exit_codes_test.sh LONGSPAN FOLDER
set -u
longspan=$1
folder=$2
golden=$(cd "$(dirname "$0")/../golden" && pwd)
rm -rf "$folder"
mkdir -p "$folder" && cd "$folder" || exit 1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none NO_COLOR=1
failures=0

complain() { echo "FAILED: $*"; failures=$((failures + 1)); }

# expect CODE TEXT COMMAND...: the exit code, and a part of what is said.
expect() {
  local code=$1 text=$2 actual
  shift 2
  timeout 100 "$@" >said 2>&1 </dev/null
  actual=$?
  [ "$actual" = "$code" ] || { complain "exit code $actual, not $code: $*"; cat said; }
  grep -qF -- "$text" said || { complain "does not say \"$text\": $*"; cat said; }
}

expect_status() {  # FOLDER CODE
  grep -q "\"code\": *$2," "$1/exit_status.json" ||
    complain "$1/exit_status.json does not say $2: $(cat "$1/exit_status.json")"
}

expect_no_result() {  # FOLDER
  [ -z "$(find "$1" -path '*checkpoints/*' 2>/dev/null)" ] || complain "$1 has a checkpoint"
}

said_once() { [ "$(grep -cF -- "$1" said)" = 1 ] || { complain "said $(grep -cF -- "$1" said) times: $1"; cat said; }; }

tiny() { echo "model { hidden_size: 16 num_layers: 1 num_heads: 2 head_dim: 8 mlp_size: 32 }
  data { sequence_length: 64 $1 }"; }
yes 'It was a bright cold day in April.' | head -c 20000 >text
tiny 'files: "text"' >good.textproto
printf 'seed: 1\nmodel {\n  hiden_size: 16\n}\n' >misspelt.textproto
run() { echo --config "$1" --set "output_directory=$2" --set metrics.tensorboard=false; }

expect 0 'longspan ' "$longspan" --version
expect 0 'train' "$longspan" --help
expect 0 '--config' "$longspan" train --help
expect 2 'which command?' "$longspan"
expect 2 'did you mean "train"?' "$longspan" trian
expect 2 'did you mean "--config"?' "$longspan" train --confg x
expect 2 'No such file' "$longspan" train --config missing.textproto
expect 2 'misspelt.textproto:3:3: model has no field "hiden_size"; did you mean "hidden_size"?' \
  "$longspan" train $(run misspelt.textproto a)
expect 2 'context 2 x tensor 1 has 2 ranks, but this run has 1' \
  "$longspan" train $(run good.textproto a) --set 'mesh={context:2}'
# No GPU is visible, in a build with CUDA either.
expect 2 '--set device=CUDA: device: CUDA: ' env CUDA_VISIBLE_DEVICES= "$longspan" train $(run good.textproto a) --set device=CUDA
for name in attention elementwise gemm loss step; do
  expect 2 '--set device=CUDA: device: CUDA: ' env CUDA_VISIBLE_DEVICES= "$longspan" bench "$name" --set device=CUDA
  [ "$(wc -l <said)" = 1 ] || { complain "bench $name began without a GPU"; cat said; }
done
expect 2 'srun --mpi=pmix' env SLURM_PROCID=1 SLURM_NTASKS=2 "$longspan" train $(run good.textproto a)
expect 2 'there is nothing to evaluate' "$longspan" evaluate $(run good.textproto a)
[ ! -e a ] || complain "a configuration that was refused left a folder"

expect 3 'nowhere' "$longspan" train $(run good.textproto b) --set data.files=nowhere
expect_status b 3
expect_no_result b
mkdir -p empty
expect 3 'empty' "$longspan" train $(run good.textproto b) --set data.files=empty
expect_status b 3
expect 5 'text' "$longspan" train $(run good.textproto text/run)
expect 4 '' "$longspan" evaluate $(run good.textproto nothing) --set evaluation.files=text

cp -r "$golden/llama" cut
head -c 100000 "$golden/llama/model.safetensors" >cut/model.safetensors
echo 'data { files: "text" sequence_length: 64 }' >imported.textproto
expect 4 'model.safetensors' "$longspan" train $(run imported.textproto c) --set model.from_huggingface=cut
expect_status c 4
expect_no_result c
expect 2 'model.hidden_size: is 65, but' \
  "$longspan" train $(run imported.textproto c) --set model.from_huggingface=cut --set model.hidden_size=65

expect 0 'data.sequence_length is 513, but max_position_embeddings in' "$longspan" train $(run imported.textproto p) \
  --set model.from_huggingface="$golden/llama" --set data.sequence_length=513 --set training.steps=1

# Weights that are no numbers, once they are read.
cp -r "$golden/llama" spoilt
truncate -s -4 spoilt/model.safetensors && printf '\377\377\377\177' >>spoilt/model.safetensors
expect 7 'Are the weights in model.from_huggingface sound' "$longspan" train $(run imported.textproto n) \
  --set model.from_huggingface=spoilt
expect_status n 7
expect 7 'spoilt are unusable' "$longspan" evaluate $(run imported.textproto n) --set model.from_huggingface=spoilt \
  --set evaluation.files=text

expect 0 'step 3/3' "$longspan" train $(run good.textproto d) --set training.steps=3
expect_status d 0
[ "$(wc -l <d/metrics.jsonl)" = 3 ] || complain "d/metrics.jsonl has not 3 lines"
[ -s d/config.textproto ] && ls d/log/rank_0000.* >/dev/null || complain "d lacks its configuration or log"
expect 0 'bits per byte' "$longspan" evaluate $(run good.textproto d) --set evaluation.files=text
expect 0 '' "$longspan" generate $(run good.textproto d) --set generation.prompt=It --set generation.max_tokens=5

# A plan needs neither data nor an output folder, and leaves nothing.
tiny '' >bare.textproto
expect 0 'fits; on this mesh' "$longspan" plan --config bare.textproto
expect 0 '1024 ranks on 128 hosts' "$longspan" plan --config bare.textproto --world 1024 --set data.sequence_length=1000000
expect 2 'the nearest that works is 2' "$longspan" plan --config bare.textproto --set mesh.tensor=3
expect 0 '1 of the 65 ranks of a context axis has no token' "$longspan" plan --config bare.textproto --world 65
expect 5 'does not fit: the' "$longspan" plan --config bare.textproto --set model.num_layers=16384 --set model.hidden_size=8192
expect 0 'whether it fits is not known' env CUDA_VISIBLE_DEVICES= "$longspan" plan --config bare.textproto --set device=CUDA
expect 0 '2 ranks on 1 host' mpirun -np 2 "$longspan" plan --config bare.textproto
expect 0 'a rank (of the rank with fewest) at' mpirun -np 2 "$longspan" plan --config bare.textproto
said_once 'fits;'
expect 0 '4 ranks on 1 host' mpirun -np 2 "$longspan" plan --config bare.textproto --world 4
said_once 'fits;'

expect 3 'nowhere' mpirun -np 2 "$longspan" train $(run good.textproto e) --set data.files=nowhere
said_once nowhere
expect_status e 3
expect 2 'hiden_size' mpirun -np 3 "$longspan" train $(run misspelt.textproto e)
said_once hiden_size
expect 2 'did you mean' mpirun -np 2 "$longspan" trian
said_once 'did you mean'
expect 2 'runs on one rank' mpirun -np 2 "$longspan" generate $(run good.textproto d) --set generation.prompt=It
expect 0 'step 3/3' mpirun -np 2 "$longspan" train $(run good.textproto f) --set training.steps=3
expect_status f 0

# A signal: a checkpoint, code 85; then the run goes on to its end as if nothing had been.
"$longspan" train $(run good.textproto g) --set training.steps=1000000 >said 2>&1 &
pid=$!
for _ in $(seq 300); do [ "$(cat g/metrics.jsonl 2>/dev/null | wc -l)" -ge 5 ] && break; sleep 0.1; done
kill -TERM $pid
wait $pid
code=$?
[ "$code" = 85 ] || { complain "after SIGTERM the exit code is $code, not 85"; cat said; }
expect_status g 85
done_steps=$(wc -l <g/metrics.jsonl)
last=$((done_steps + 2))
expect 0 "step $last/$last" "$longspan" train $(run good.textproto g) --set training.steps=$last
expect_status g 0

if [ "$failures" = 0 ]; then echo "all as expected"; else echo "$failures failed"; exit 1; fi
