#!/bin/bash
# longspan verify as its users start it: verify_test.sh LONGSPAN FOLDER PLANTED_VERIFY
set -u
longspan=$1
folder=$2
planted_verify=$3
tests=$(cd "$(dirname "$0")/.." && pwd)
rm -rf "$folder"
mkdir -p "$folder/empty" "$folder/temporary" && cd "$folder/empty" || exit 1
export OMPI_MCA_btl_vader_single_copy_mechanism=none
failures=0
complain() { echo "FAILED: $*"; failures=$((failures + 1)); }

ranks() { "$tests/support/mpi_run" "$1" 100 env TMPDIR="$folder/temporary" "${@:2}"; }
alone() { env TMPDIR="$folder/temporary" "$@"; }

# expect CODE TEXT WITHIN_SECONDS COMMAND...; what it says is then in ../said
expect() {
  local code=$1 text=$2 within=$3 actual begin=$SECONDS
  shift 3
  "$@" >../said 2>&1 </dev/null
  actual=$?
  [ "$actual" = "$code" ] || { complain "exit code $actual, not $code: $*"; cat ../said; }
  grep -qF -- "$text" ../said || { complain "does not say \"$text\": $*"; cat ../said; }
  [ $((SECONDS - begin)) -le "$within" ] || complain "took $((SECONDS - begin)) s, not $within: $*"
}
says() { grep -qF -- "$1" ../said || { complain "does not say \"$1\""; cat ../said; }; }

# Every configuration, on real ranks and as threads, without its data and without weights.
mkdir ../model && cp "$tests/golden/llama/config.json" ../model
for config in "$tests"/../configs/*.textproto; do
  settings=()
  if grep -q from_huggingface "$config"; then settings=(--set "model.from_huggingface=$folder/model"); fi
  expect 0 'tensors on 2 ranks agree with one rank' 60 ranks 2 "$longspan" verify --config "$config" "${settings[@]}"
  says 'float64: largest difference'
  says 'float32: largest difference'
  says 'allowed is 1e-11'
  says 'shrunk: model.'
  expect 0 'tensors on 8 ranks agree with one rank' 60 alone "$longspan" verify --config "$config" "${settings[@]}" \
    --set 'mesh={data: 2 context: 4}' --set training.global_batch_sequences=4
  says 'its 8 ranks are threads of this process'
done
expect 0 'bfloat16: largest difference' 60 ranks 3 "$longspan" verify --config "$config" --set precision=BF16 \
  --set data.sequence_length=1000 --set context.layout=STRIPED
expect 0 'tensors on 1 ranks agree with one rank' 60 alone "$longspan" verify --config "$config"
says 'this mesh is one rank, so little can differ'

# Ranks that were started must be those of the mesh.
for count in 1 2; do
  expect 2 "x tensor 1 is 3, but this run has $count rank" 20 ranks $count "$longspan" verify --config "$config" \
    --set mesh.context=3
done
expect 2 'mesh: has 65 ranks, more than the 64' 20 alone "$longspan" verify --config "$config" --set mesh.context=65
expect 5 'no folder' 20 env TMPDIR=/proc "$longspan" verify --config "$config"

# A difference: every rank ends with 7, and one says what, where and how much.
expect 7 'longspan: verify, float64: rank 1, output of model.layers.0, microbatch 0, token 1, element 0: ' 60 \
  ranks 2 "$planted_verify"
says 'where one rank has'
[ "$(grep -c 'longspan: verify' ../said)" = 1 ] || { complain "not one message"; cat ../said; }

[ -z "$(ls -A .)" ] || complain "files are left here: $(ls -A .)"
[ -z "$(ls -A ../temporary)" ] || complain "files are left behind: $(ls -A ../temporary)"

if [ "$failures" = 0 ]; then echo "all as expected"; else echo "$failures failed"; exit 1; fi
