#!/bin/bash
# mpirun for longspan: cluster/mpirun.sh [mpirun flags] build/release/longspan train --config FILE [--set ...]
#
# Notices a dead connection within about ten seconds instead of never, gives ranks time for a checkpoint before it kills
# them, passes signals on so that they end in order, and returns the exit code of the run (exit_status.json), which mpirun
# may change: 85 means a checkpoint was written on request, start again to continue.
set -uo pipefail

if [ $# = 0 ] || [ "$1" = --help ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
  [ $# -gt 0 ]
  exit $(($? * 2))
fi

flags=(
  --bind-to none  # longspan divides the cores of a host itself
  --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3
  --mca odls_base_sigkill_timeout "${KILL_SECONDS:-60}"  # between asking a rank to end and killing it; mpirun takes twice that
  --mca mpi_yield_when_idle 1
  --mca orte_base_help_aggregate 1
)
[ "$(id -u)" = 0 ] && flags+=(--allow-run-as-root)

# Where the run leaves its exit status: the last --set output_directory, else what the configuration says.
folder=
config=
previous=
for word in "$@"; do
  case $previous$word in
    *--config=*) config=${word#*=} ;;
    *output_directory=*) folder=${word##*output_directory=} ;;
  esac
  [ "$previous" = --config ] && config=$word
  previous=$word
done
if [ -z "$folder" ] && [ -r "$config" ]; then
  folder=$(sed -n 's/^[[:space:]]*output_directory:[[:space:]]*["'\'']\([^"'\'']*\)["'\''].*/\1/p' "$config" | tail -1)
fi
folder=${folder%\"}
folder=${folder#\"}
status=$folder/exit_status.json
started=$(mktemp)
trap 'rm -f "$started"' EXIT

# A terminal is on this side of mpirun's pipes, where rank 0 cannot see it. mpirun keeps the words after the program.
progress=()
case " $* " in *" train "* | *" evaluate "*) [ -t 2 ] && progress=(--set metrics.progress=BAR) ;; esac

# In a session of its own: a Ctrl-C of the terminal comes here first, and mpirun does not kill its ranks over it.
setsid mpirun "${flags[@]}" "$@" "${progress[@]}" </dev/null &
launcher=$!

# mpirun ends its ranks when it is told to end, and hands USR1 to them: that is the way to a checkpoint.
asked=0
ask() {
  asked=$((asked + 1))
  if [ "$asked" = 1 ]; then
    echo "cluster/mpirun.sh: asked the ranks to write a checkpoint and end; once more ends them at once" >&2
    kill -USR1 "$launcher" 2>/dev/null
  else
    kill -TERM "$launcher" 2>/dev/null
  fi
}
trap ask INT TERM HUP USR1

code=0
while :; do
  wait "$launcher"
  code=$?
  kill -0 "$launcher" 2>/dev/null || break  # a signal ends wait, too
done
[ "$code" -gt 128 ] && { wait "$launcher"; code=$?; }  # that signal's number may stand in for the code

# A file of an earlier run says nothing about this one.
if [ -n "$folder" ] && [ "$status" -nt "$started" ]; then
  written=$(sed -n 's/.*"code": *\([0-9][0-9]*\).*/\1/p' "$status" | head -1)
  code=${written:-$code}
fi
exit "$code"
