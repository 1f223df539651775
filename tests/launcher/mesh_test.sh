#!/bin/bash
# Eight real ranks, as every kind of mesh, compute what one rank computes, in double precision and in float32:
# mesh_test.sh LONGSPAN FOLDER
set -u
longspan=$1
folder=$2
tests=$(cd "$(dirname "$0")/.." && pwd)
rm -rf "$folder"
mkdir -p "$folder/temporary" && cd "$folder" || exit 1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMP_WAIT_POLICY=passive
failures=0

cat >run.textproto <<'CONFIG'
threads_per_rank: 1
model { vocabulary_size: 300 hidden_size: 32 num_layers: 6 num_heads: 8 num_kv_heads: 4 head_dim: 8 mlp_size: 48 qk_norm: true }
data { sequence_length: 251 }
training { global_batch_sequences: 16 }
CONFIG

# verified SETTING...
verified() {
  local settings=() setting code begin=$SECONDS
  for setting in "$@"; do settings+=(--set "$setting"); done
  "$tests/support/mpi_run" 8 120 env TMPDIR="$folder/temporary" "$longspan" verify --config run.textproto "${settings[@]}" >said 2>&1
  code=$?
  echo "$((SECONDS - begin)) s: $*"
  [ $code = 0 ] && grep -q 'float32: largest' said && grep -q 'tensors on 8 ranks agree with one rank' said && return
  echo "FAILED with exit code $code: $*"
  cat said
  failures=$((failures + 1))
}

for mesh in 'data: 8' 'context: 8' 'tensor: 8' 'data: 2 context: 2 tensor: 2'; do verified "mesh={$mesh}"; done
for scheme in ALL_TO_ALL ALL_GATHER; do verified 'mesh={context: 4 tensor: 2}' "context.scheme=$scheme"; done
for scheme in HYBRID DOUBLE_RING; do verified 'mesh={context: 8}' "context={scheme: $scheme group_ranks: 2}"; done
verified 'mesh={data: 2 context: 4}' sharding.state=OPTIMIZER
verified 'mesh={data: 2 context: 2 tensor: 2}' sharding.state=WEIGHTS
verified 'mesh={pipeline: 8}'
verified 'mesh={pipeline: 2 data: 2 tensor: 2}' pipeline.schedule=ZERO_BUBBLE
verified 'mesh={pipeline: 2 context: 4}' 'pipeline={schedule: INTERLEAVED chunks_per_stage: 2}'
verified 'mesh={pipeline: 4 tensor: 2}' 'pipeline={schedule: SEQUENCE_CHUNKED sequence_chunks: 3}'

[ $failures = 0 ]
