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

# A verification is to take less than a minute on an idle machine; how long each took is printed. This bound is only for
# what hangs.
hang=300
ranks() { "$tests/support/mpi_run" "$1" "$hang" env TMPDIR="$folder/temporary" "${@:2}"; }
alone() { timeout "$hang" env TMPDIR="$folder/temporary" "$@"; }

# expect CODE TEXT COMMAND...; what it says is then in ../said
expect() {
  local code=$1 text=$2 actual begin=$SECONDS
  shift 2
  "$@" >../said 2>&1 </dev/null
  actual=$?
  [ "$actual" = "$code" ] || { complain "exit code $actual, not $code: $*"; cat ../said; }
  grep -qF -- "$text" ../said || { complain "does not say \"$text\": $*"; cat ../said; }
  echo "$((SECONDS - begin)) s: $*"
}
says() { grep -qF -- "$1" ../said || { complain "does not say \"$1\""; cat ../said; }; }

# Every configuration, on real ranks and as threads, without its data and without weights.
mkdir ../model && cp "$tests/golden/llama/config.json" ../model
for config in "$tests"/../configs/*.textproto; do
  settings=()
  if grep -q from_huggingface "$config"; then settings=(--set "model.from_huggingface=$folder/model"); fi
  expect 0 'tensors on 2 ranks agree with one rank' ranks 2 "$longspan" verify --config "$config" "${settings[@]}"
  says 'float64: largest difference'
  says 'allowed is 1e-11; reference kernels; '
  says 'float32: largest difference'
  says '; cpu kernels ('
  says 'shrunk: model.'
  expect 0 'tensors on 8 ranks agree with one rank' alone "$longspan" verify --config "$config" "${settings[@]}" \
    --set 'mesh={data: 2 context: 4}' --set training.global_batch_sequences=4
  says 'its 8 ranks are threads of this process'
done
expect 0 'bfloat16: largest difference' ranks 3 "$longspan" verify --config "$config" --set precision=BF16 \
  --set data.sequence_length=1000 --set context.layout=STRIPED
says 'float64: largest difference'
says 'float32: largest difference'
# Every scheme of the context axis, on four ranks: AUTO may take any.
expect 0 'tensors on 4 ranks agree with one rank' ranks 4 "$longspan" verify --config "$tests/../configs/quickstart.textproto" \
  --set precision=FP32 --set context.scheme=AUTO
says 'context.scheme: AUTO is '
for scheme in RING ALL_TO_ALL ALL_GATHER 'HYBRID in groups of 2' 'DOUBLE_RING in groups of 2'; do
  grep -qx "context.scheme: $scheme" ../said || { complain "AUTO may take $scheme, which was not verified"; cat ../said; }
done
[ "$(grep -c 'float32: largest difference' ../said)" = 5 ] || { complain "not five schemes in float32"; cat ../said; }
says 'context.scheme: all 5 that AUTO may take agree with one rank'
expect 2 'context.scheme: 8 ranks cannot exchange 4 heads, as some would have none: the nearest degree that works is 4' \
  alone "$longspan" verify --config "$tests/../configs/quickstart.textproto" --set mesh.context=8 --set context.scheme=ALL_TO_ALL
expect 0 'tensors on 1 ranks agree with one rank' alone "$longspan" verify --config "$config"
says 'this mesh is one rank, so little can differ'

# Ranks that were started must be those of the mesh.
for count in 1 2; do
  expect 2 "x tensor 1 has 3 ranks, but this run has $count" ranks $count "$longspan" verify --config "$config" \
    --set mesh.context=3
done
expect 2 'mesh: has 65 ranks, more than the 64' alone "$longspan" verify --config "$config" --set mesh.context=65
expect 5 'no folder' env TMPDIR=/proc "$longspan" verify --config "$config"

# A difference: every rank ends with 7, and one says what, where and how much.
expect 7 'longspan: verify, float64: rank 1, attention of model.layers.0, microbatch 0, token 1, element 0: ' \
  ranks 2 "$planted_verify"
says 'where one rank has'
[ "$(grep -c 'longspan: verify' ../said)" = 1 ] || { complain "not one message"; cat ../said; }

# A signal ends it in the middle; what it wrote goes with it. Many ranks as threads take long enough to be caught.
long_one=("$longspan" verify --config "$config" --set 'mesh={data: 2 context: 8}' --set training.global_batch_sequences=4)
has_documents() { [ -n "$(ls -A ../temporary)" ]; }
for signal in INT TERM USR1; do
  TMPDIR="$folder/temporary" "${long_one[@]}" >../said 2>&1 </dev/null &
  started=$!
  for ((i = 0; i < 3000; i++)); do
    has_documents && break
    sleep 0.01
  done
  sleep 0.2
  has_documents || complain "SIG$signal: verify had no documents to leave"
  kill -s "$signal" "$started"
  wait "$started"
  actual=$?
  [ "$actual" = 130 ] || { complain "SIG$signal: exit code $actual, not 130"; cat ../said; }
  [ -z "$(ls -A ../temporary)" ] || { complain "SIG$signal left $(ls -A ../temporary)"; rm -r ../temporary/*; }
done

# Nor does a rank that is ended because another one was.
cat >../end_rank_1 <<'EOF'
if [ "$OMPI_COMM_WORLD_RANK" != 1 ]; then exec "$@"; fi
"$@" &
while kill -0 $! && [ "$(ls -A "$TMPDIR" | wc -l)" -lt 2 ]; do sleep 0.01; done
kill -TERM $!
wait $!
EOF
expect 130 '' ranks 2 bash ../end_rank_1 "$longspan" verify --config "$config"

[ -z "$(ls -A .)" ] || complain "files are left here: $(ls -A .)"
[ -z "$(ls -A ../temporary)" ] || complain "files are left behind: $(ls -A ../temporary)"

if [ "$failures" = 0 ]; then echo "all as expected"; else echo "$failures failed"; exit 1; fi
