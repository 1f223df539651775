#!/bin/bash
# longspan doctor on this machine, whatever that is: doctor_test.sh LONGSPAN FOLDER SILENT_RANK
set -u
longspan=$1
folder=$2
silent_rank=$3
tests=$(cd "$(dirname "$0")/.." && pwd)
rm -rf "$folder"
mkdir -p "$folder" && cd "$folder" || exit 1
# As of a user who has set nothing, but for what a container may need.
for name in $(env | grep -oE '^(OMPI_MCA_|OMP_|SLURM_|PMI)[^=]*'); do unset "$name"; done
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl_vader_single_copy_mechanism=none
failures=0
complain() { echo "FAILED: $*"; failures=$((failures + 1)); }

# expect CODE WITHIN_SECONDS COMMAND...: CODE "any" is 5 if the report has an error, else 0.
expect() {
  local code=$1 within=$2 actual begin=$SECONDS
  shift 2
  timeout 100 "$@" >said 2>&1 </dev/null
  actual=$?
  [ "$code" != any ] || { code=0; grep -q '^  error ' said && code=5; }
  [ "$actual" = "$code" ] || { complain "exit code $actual, not $code: $*"; cat said; }
  [ $((SECONDS - begin)) -le "$within" ] || complain "took $((SECONDS - begin)) s, not $within: $*"
}
says() { grep -qE -- "$1" said || { complain "does not say \"$1\""; cat said; }; }
says_not() { ! grep -qE -- "$1" said || { complain "says \"$1\""; cat said; }; }

expect any 20 "$longspan" doctor
for topic in machine MPI binding 'memory and limits' storage clocks network; do says "^$topic$"; done
says '^  ok       one process, without MPI$'
says '^  ok       [0-9.]+ GFLOP/s a core'
says '^[0-9]+ errors?, [0-9]+ warnings?, [0-9]+ notes?$'

# Two ranks, with CPUs to share.
expect any 30 "$tests/support/mpi_run" 2 60 "$longspan" doctor
says '^  ok       2 ranks on 1 host, started by mpirun: 2 on '
says '^  ok       messages go by '
says '^  ok       rank 0 on .* and rank 1 on .*: .*B/s each way, latency '
says '^  ok       ring of all 2 ranks at once: '
says_not 'did not answer'
[ "$(grep -c '^machine$' said)" = 1 ] || complain "more than one rank reports"

# Four, more than there may be cores for.
expect any 60 "$tests/support/mpi_run" 4 60 "$longspan" doctor
says '^  ok       4 ranks on 1 host, '
says '^  ok       ring of all 4 ranks at once: '

# Two ranks bound to one core.
cpu=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
expect any 60 taskset -c "$cpu" "$tests/support/mpi_run" 2 60 "$longspan" doctor
says '^  warning  2 ranks with 2 threads in all on 1 CPU$'
[ "$(cat /sys/devices/system/cpu/online)" = 0 ] ||
  says "^  warning  ranks 0-1 are bound to the same CPU $cpu; the host has "

# What is wrong with the environment or a limit of this process.
expect 5 20 env TMPDIR="$PWD/nowhere" "$longspan" doctor
says '^  error    TMPDIR .*/nowhere is no folder$'
# shellcheck disable=SC2016 # $0 is of the inner shell
expect 5 20 bash -c 'ulimit -n 40; exec "$0" doctor' "$longspan"
says '^  error    40 open files'
expect any 20 env OMP_NUM_THREADS=100000 "$longspan" doctor
says '^  warning  OMP_NUM_THREADS=100000, '

# Tasks that MPI cannot join: one of them reports.
expect 5 20 env SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_STEP_ID=0 "$longspan" doctor
says '^  error    srun started 2 tasks, but MPI cannot see them'
says 'srun --mpi=pmix'
expect 5 20 env SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_STEP_ID=0 "$longspan" doctor
[ ! -s said ] || complain "the second task reports, too"
expect 5 20 env PMI_RANK=0 PMI_SIZE=2 "$longspan" doctor
says '^  error    the mpirun of another MPI'

# A rank that says nothing is named, and does not hold the others up.
expect 6 40 mpirun --oversubscribe --bind-to none -np 1 "$longspan" doctor : -np 1 "$silent_rank"
says '^  error    rank 1 did not say which host it is on$'

if [ "$failures" = 0 ]; then echo "all as expected"; else echo "$failures failed"; exit 1; fi
