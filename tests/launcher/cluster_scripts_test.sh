#!/bin/bash
# The scripts of cluster/ with launchers that are not there: cluster_scripts_test.sh FOLDER
#
# The mpirun and srun on PATH do what WRITE says to the exit status of $RUN, as the launch LAUNCH or as the one they are
# part of, then end with CODE.
set -u
folder=$1
cluster=$(cd "$(dirname "$0")/../../cluster" && pwd)
rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/runs" && cd "$folder" || exit 1
failures=0
complain() { echo "FAILED: $*"; failures=$((failures + 1)); }

cat >bin/mpirun <<'FAKE'
#!/bin/bash
cd "$(dirname "$0")/.." || exit 9
[ -z "${FULL:-}" ] || { echo "There are not enough slots available in the system" >&2; exit 1; }
case " $* " in *' true ') exit ;; esac
printf '%s\n' "$@" >words
env | grep ^LONGSPAN_TERMINAL= >terminal
[ -z "${WAIT:-}" ] || { trap 'echo USR1 >signals' USR1; touch ready; while [ ! -e signals ]; do sleep 0.1; done; }
[ -z "${WRITE:-}" ] || echo "{\"code\": $WRITE, \"reason\": \"x\", \"rank\": 0," \
  "\"launch\": \"${LAUNCH:-$LONGSPAN_LAUNCH}\"}" >"$RUN/exit_status.json"
exit "${CODE:-0}"
FAKE
cp bin/mpirun bin/srun
cat >bin/scontrol <<FAKE
#!/bin/bash
echo "\$*" >>asked
[ "\$1" = show ] && printf 'JobId=7\n   JobState=%s\n   Command=%s\n' "\${STATE:-RUNNING}" "$cluster/longspan.sbatch"
exit 0
FAKE
printf '#!/bin/bash\necho "$*" >>cancelled\n' >bin/scancel
chmod +x bin/*
export PATH=$PWD/bin:$PATH SLURM_JOB_ID=7 SLURM_JOB_NODELIST=here

# expect CODE COMMAND...
expect() {
  local code=$1 actual
  shift
  timeout 20 "$@" >said 2>&1 </dev/null
  actual=$?
  [ "$actual" = "$code" ] || { complain "exit code $actual, not $code: $*"; cat said; }
}
stale() { mkdir -p "$1" && echo '{"code": 7, "reason": "of an earlier run"}' >"$1/exit_status.json"; }

# Where the folder of a run is found.
. "$cluster/run_folder.sh"
finds() {  # FOLDER WORD...
  local wanted=$1 found
  shift
  found=$(run_folder "$@")
  [ "$found" = "$wanted" ] || complain "the folder is '$found', not '$wanted': $*"
}
echo 'name: "notes"  output_directory: "runs/notes"  seed: 1' >one_line.textproto
printf 'name: "x"\n  output_directory : '\''runs/own line'\'' # a comment\n' >own_line.textproto
printf '# output_directory: "runs/no"\nname: "output_directory: x" output_directory: "runs/#1"\n' >tricky.textproto
echo 'seed: 1' >none.textproto
finds runs/x p train --set output_directory=runs/x --set data.files=y
finds runs/x p train --set=output_directory=runs/x --config=c
finds 'runs/a b' p train --config one_line.textproto --set 'output_directory="runs/a b"'
finds runs/2 p train --set output_directory=runs/1 --set output_directory=runs/2
finds runs/notes p train --config one_line.textproto --set data.files=output_directory=z
finds runs/notes p train --config=one_line.textproto --set seed=2
finds 'runs/own line' p train --config own_line.textproto
finds 'runs/#1' p train --config tricky.textproto
finds '' p train --config none.textproto
finds '' p train --config absent.textproto

# Whose code is returned.
export RUN=runs/x
train() { CODE=$1 WRITE=$2 expect "$3" "$4" "${@:5}" train --config none.textproto --set output_directory=runs/x; }
for script in "$cluster/mpirun.sh p" "$cluster/longspan.sbatch"; do
  # shellcheck disable=SC2086  # a program and its argument
  {
    stale runs/x
    train 205 3 3 $script
    stale runs/x
    train 1 85 85 $script
    stale runs/x
    train 6 '' 6 $script
    grep -q '"code": 7' runs/x/exit_status.json || complain "$script: removed the status of a run that is not its own"
    train 0 0 0 $script
    LAUNCH=another train 2 85 2 $script
  }
done
grep -qx 'requeue 7' asked || complain "85 does not go back into the queue"
STATE=COMPLETING train 1 85 85 "$cluster/longspan.sbatch"
[ "$(grep -c requeue asked)" = 1 ] || complain "went back into the queue for another code than 85, or a cancelled job"

# Other commands leave the training's status alone.
stale runs/x
CODE=5 expect 5 "$cluster/mpirun.sh" p evaluate --config none.textproto --set output_directory=runs/x
grep -q '"code": 7' runs/x/exit_status.json || complain "evaluate has changed the exit status of the training"

# More ranks than slots, which is told from a rank that ends with 1.
FULL=1 expect 5 "$cluster/mpirun.sh" -np 9 p train --set output_directory=runs/x
grep -q 'add --oversubscribe' said || { complain "does not say how to start more ranks than slots"; cat said; }
FULL=1 expect 5 "$cluster/mpirun.sh" -np 9 p doctor
CODE=1 expect 1 "$cluster/mpirun.sh" -np 2 p doctor

# How long mpirun waits before it kills, and a request to stop that reaches it.
expect 0 "$cluster/mpirun.sh" p train
grep -A1 -x odls_base_sigkill_timeout words | grep -qx 5 || complain "mpirun does not kill after 5 s"
[ ! -s terminal ] || complain "a pipe was taken for a terminal"
WAIT=1 WRITE=85 CODE=1 timeout 20 "$cluster/mpirun.sh" p train --set output_directory=runs/x >said 2>&1 &
until [ -e ready ]; do sleep 0.1; done
kill -USR1 "$(pgrep -P $!)"
wait $!
code=$?
[ "$code" = 85 ] || { complain "after USR1 the exit code is $code, not 85"; cat said; }

# launcher/quickstart hands on what ends it, waits for the ranks, and says how to go on.
echo words >text
quickstart=$cluster/../runs/quickstart-$(echo "$PWD/text" | cksum | cut -d' ' -f1)
trap 'rm -rf "$quickstart"' EXIT
for signal in TERM HUP INT; do
  rm -rf ready signals "$quickstart"
  mkdir -p "$quickstart"
  RUN=$quickstart WAIT=1 WRITE=85 CODE=1 LONGSPAN=p timeout 20 env --default-signal=INT \
    "$cluster/../launcher/quickstart" text >said 2>&1 &
  until [ -e ready ]; do sleep 0.1; done
  kill -$signal "$(pgrep -P $!)"
  wait $!
  code=$?
  [ "$code" = 85 ] || { complain "after $signal quickstart ends with $code, not 85"; cat said; }
  [ -e signals ] || { complain "quickstart does not hand $signal on"; echo >signals; }
  grep -q 'again to continue' said || { complain "quickstart does not say how to continue"; cat said; }
done
RUN=$quickstart LAUNCH=another WRITE=85 CODE=2 LONGSPAN=p expect 2 "$cluster/../launcher/quickstart" text
grep -q 'why is said above' said || { complain "quickstart answers for another run"; cat said; }

# A terminal is made known by a variable, so that what the user sets wins.
if command -v script >/dev/null; then
  script -qec "stty cols 43; $cluster/mpirun.sh p train --set metrics.progress=LINES" typescript >said 2>&1 </dev/null
  [ "$(cat terminal)" = LONGSPAN_TERMINAL=43 ] || complain "the terminal is not made known: $(cat terminal)"
  [ "$(grep -c metrics words)" = 1 ] || complain "progress is set beside what the user sets"
fi

if [ "$failures" = 0 ]; then echo "all as expected"; else echo "$failures failed"; exit 1; fi
