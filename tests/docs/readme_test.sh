#!/bin/bash
# The commands of README.md and of the page on data, run in order in a copy of the project, as a reader would:
# readme_test.sh ROOT LONGSPAN COURSE FOLDER
#
# They are shortened in the open: training takes two steps more each time instead of hundreds, sequences have 512 tokens,
# texts go on for 20, one case is measured, and /home/me/notes is a folder of this test. Not run but asked for help:
# quickstart, which has a test of its own, and tests/run, which runs this one. For a cluster, mpirun and sbatch are
# stand-ins that check their words.
set -u
root=$(cd "$1" && pwd)
longspan=$(realpath "$2")
course=$(realpath "$3")
folder=$4
. "$(dirname "$0")/pages.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_mpi_yield_when_idle=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_mpi_yield_when_idle=1 OMP_WAIT_POLICY=passive NO_COLOR=1
rm -rf "$folder"
mkdir -p "$folder/copy" "$folder/notes" "$folder/cluster" || exit 1
folder=$(cd "$folder" && pwd)
(cd "$root" && files_of_project | xargs cp --parents -t "$folder/copy")
cd "$folder/copy" || exit 1

# The shortened program, where a build leaves the whole one.
mkdir -p build/release/tests/docs
cat >build/release/longspan <<SHORT
#!/bin/bash
case \${1:-} in
  train) set -- "\$@" --set training.steps=\$SHORT_STEPS ;;
  generate) set -- "\$@" --set generation.max_tokens=20 ;;
  bench) [ "\$2" = ring ] || set -- "\$@" --set precision=FP32 --set model.head_dim=64 ;;
esac
case \${1:-} in train | evaluate | generate | bench) set -- "\$@" --set data.sequence_length=512 ;; esac
exec "$longspan" "\$@"
SHORT
chmod +x build/release/longspan
ln -s "$course" build/release/tests/docs/course

cat >"$folder/cluster/mpirun" <<'FAKE'
#!/bin/bash
while [ $# -gt 0 ] && [ "$1" != build/release/longspan ]; do shift; done
[ -x "${1:-}" ] && [ "${2:-}" = train ] && [ -r "${4:-}" ] || { echo "mpirun is given no run: $*"; exit 9; }
FAKE
cat >"$folder/cluster/sbatch" <<'FAKE'
#!/bin/bash
while [[ ${1:-} == -* ]]; do shift 2; done
[ -r "${1:-}" ] && bash -n "$1" && [ "${2:-}" = --config ] && [ -r "${3:-}" ] ||
  { echo "sbatch is given no job: $*"; exit 9; }
FAKE
chmod +x "$folder"/cluster/*

for i in $(seq 40); do yes "Dear reader, this is letter $i." | head -100 >"$folder/notes/$i.txt"; done

steps=0 checked=0
run() {  # WHERE COMMAND
  local code path=$PATH
  case $2 in
    launcher/quickstart* | tests/run*) set -- "$1" "${2%% *} --help" ;;
    *sbatch* | *--hostfile*) path=$folder/cluster:$PATH ;;
    *' train '*) steps=$((steps + 2)) ;;
  esac
  SHORT_STEPS=$steps PATH=$path timeout 100 bash -euo pipefail -c "${2//\/home\/me\/notes/$folder/notes}" \
    >said 2>&1 </dev/null
  code=$?
  [[ $2 == *' doctor' ]] && [ "$code" = 5 ] && code=0  # it ran; what it finds is about the machine
  [ "$code" = 0 ] || { complain "$1: exit code $code: $2"; cat said; }
}

# What the README says that a run leaves.
check_left() {
  local left
  for left in $(prose README.md | sed -n '/## What a run leaves/,/^[0-9]*\t|/p' |
    grep -oE '`(log|tensorboard|checkpoints)/`|`[a-z_]+\.(jsonl|json|textproto)`' | tr -d '`'); do
    [ -e "runs/notes/$left" ] || complain "README.md says that a run leaves $left"
  done
  grep -q '"code": *0,' runs/notes/exit_status.json || complain "runs/notes/exit_status.json does not say 0"
  [ "$(wc -l <runs/notes/metrics.jsonl)" = $steps ] || complain "$steps steps did not leave as many lines"
}

run_page() {  # PAGE
  local num_commands=0 entry
  while IFS= read -r -d '' entry; do
    num_commands=$((num_commands + 1))
    run "$1:${entry%%$'\t'*}" "${entry#*$'\t'}"
    [ "$steps" = "$checked" ] || [ "$1" != README.md ] || { check_left; checked=$steps; }
  done < <(commands "$1")
  [ "$num_commands" -gt 8 ] || complain "$1 has only $num_commands commands"
}

run_page README.md
[ "$steps" = 6 ] || complain "the README trains $((steps / 2)) times, not three times"
rm -rf runs
steps=0
run_page docs/07-from-file-to-loss.md
for leaves in notes qwen; do [ -s "runs/$leaves/metrics.jsonl" ] || complain "runs/$leaves has no steps"; done
finish
