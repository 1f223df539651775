# What the rows of the tables are prepared with. Sourced by bad_input_test.sh.

# A small run that would go well.
sound_run() {
  yes 'It was a bright cold day in April.' | head -c 2000 >text
  cat >run.textproto <<'CONFIG'
output_directory: "out"
model { hidden_size: 16 num_layers: 1 num_heads: 2 head_dim: 8 mlp_size: 32 }
data { files: "text" sequence_length: 64 }
training { steps: 1 }
metrics { tensorboard: false }
communication { timeout_seconds: 8 }
CONFIG
}

# Bytes: le 8 300 is the number 300 in 8 bytes, little-endian; negative numbers in two's complement.
le() {
  local bytes=$1 number=$2 i text=
  for ((i = 0; i < bytes; i++)); do text+=$(printf '\\%03o' $(((number >> (8 * i)) & 255))); done
  printf "$text"
}
each() {  # BYTES NUMBER...
  local bytes=$1 number
  shift
  for number in "$@"; do le "$bytes" "$number"; done
}
repeat() { head -c "$2" /dev/zero | tr '\0' "$1"; }
put() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }  # FILE OFFSET: standard input goes there

# Whoever is root may read and write everything, which is the last thing these rows need.
unprivileged() {
  [ "$(id -u)" = 0 ] || return 0
  as=(setpriv --bounding-set -dac_override,-dac_read_search)
}

# MEGATRON: a prefix `p` with the documents [1 2 3 4 5], [] and [6 7 8 9]; then parts of the index are overwritten.
megatron_index() {
  printf 'MMIDIDX\0\0'
  le 8 1
  le 1 8
  each 8 4 4
  each 4 3 2 0 4
  each 8 0 6 10 10
  each 8 0 2 3 4
}
megatron() {  # OFFSET BYTES NUMBER
  each 2 1 2 3 4 5 6 7 8 9 >p.bin
  megatron_index >p.idx
  [ $# = 0 ] || le "$2" "$3" | put p.idx "$1"
}
readonly megatron_run="--set data.files=p --set data.format=MEGATRON --set model.vocabulary_size=512"

# A Hugging Face folder `model`, and a run that begins with it.
imported() {
  mkdir model
  cp "$golden/config.json" "$golden/model.safetensors" model
  each 2 $(seq 1 40) >tokens
  sed -i -e 's/^model .*/model { from_huggingface: "model" }/' \
    -e 's/^data .*/data { files: "tokens" format: TOKENS_U16 sequence_length: 16 }/' run.textproto
}
# Another value for a key of config.json that has one on its line.
key() { sed -i "s|^\( *\"$1\": \).*[^,]\(,*\)\$|\1$2\2|" model/config.json; }
safetensors() {  # HEADER DATA-BYTES
  { le 8 ${#1}; printf %s "$1"; head -c "$2" /dev/zero; } >model/model.safetensors
}

# A run in `out` that has done a step; `latest` is its checkpoint.
trained() {
  if [ ! -e ../trained ]; then
    "$longspan" train --config run.textproto >../said 2>&1 && mv out ../trained || return 1
  fi
  cp -r ../trained out
  latest=out/checkpoints/step_00000001
}
readonly go_on="--set training.steps=2"
