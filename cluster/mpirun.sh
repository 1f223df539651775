#!/bin/bash
# mpirun for longspan: cluster/mpirun.sh [mpirun flags] build/release/longspan train --config FILE [--set ...]
#
# Notices a dead connection within about ten seconds instead of never, passes signals on so that ranks end in order after a
# checkpoint, and returns the exit code of the run (exit_status.json), which mpirun may change: 85 means a checkpoint was
# written on request, start again to continue. Also as root, which mpirun alone refuses.
set -uo pipefail

if [ $# = 0 ] || [ "$1" = --help ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
  [ $# -gt 0 ]
  exit $(($? * 2))
fi

flags=(
  --bind-to none  # longspan divides the cores of a host itself
  --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3
  --mca odls_base_sigkill_timeout "${KILL_SECONDS:-5}"  # beside a rank that failed; USR1 starts no such clock
  --mca mpi_yield_when_idle 1
  --mca orte_base_help_aggregate 1
)
[ "$(id -u)" = 0 ] && flags+=(--allow-run-as-root)

# Only training leaves an exit status; other commands leave that of the training alone.
. "$(dirname "$(readlink -f "$0")")/run_folder.sh"
folder=
case " $* " in *" train "*) folder=$(run_folder "$@") ;; esac
name_launch
flags+=(-x LONGSPAN_LAUNCH)

# Where no rank ran, mpirun itself has failed, with a code that ours gives to bugs. Whether the hosts have room it is asked
# again, with the same flags and a program that does nothing, so that what the ranks say need not pass through here.
has_no_slots() {  # WORD...
  local before=()
  while [ $# -gt 1 ]; do
    case $2 in train | evaluate | generate | verify | plan | bench | doctor) break ;; esac
    before+=("$1")
    shift
  done
  [ $# -gt 1 ] || return
  [[ $(setsid mpirun "${flags[@]}" "${before[@]}" true </dev/null 2>&1) == *'not enough slots'* ]]
}

# A terminal is on this side of mpirun's pipes, where rank 0 cannot see it.
if [ -t 2 ]; then
  columns=$(stty size <&2 2>/dev/null | cut -d' ' -f2)
  export LONGSPAN_TERMINAL="${columns:-80}"
  flags+=(-x LONGSPAN_TERMINAL)
fi

# In a session of its own: a Ctrl-C of the terminal comes here first, and mpirun does not kill its ranks over it.
setsid mpirun "${flags[@]}" "$@" </dev/null &
launcher=$!

# mpirun ends its ranks when it is told to end, and hands USR1 to them: that is the way to a checkpoint.
asked=0
ask() {
  asked=$((asked + 1))
  if [ "$asked" = 1 ]; then
    echo "cluster/mpirun.sh: asked the ranks to end, in training after a checkpoint; once more ends them at once" >&2
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

written=$(own_exit_status "$folder")
if [ "$code" = 1 ] && [ -z "$written" ] && [ "$asked" = 0 ] && has_no_slots "$@"; then
  echo "cluster/mpirun.sh: more ranks than slots, which without a hostfile are cores: start fewer, or add --oversubscribe" >&2
  exit 5
fi
exit "${written:-$code}"
