#!/bin/bash
# Each test of the documentation finds what it is for: planted_test.sh ROOT LONGSPAN COURSE FOLDER
set -u
root=$(cd "$1" && pwd)
longspan=$2
course=$3
here=$(cd "$(dirname "$0")" && pwd)
. "$here/pages.sh"
mkdir -p "$4" && cd "$4" || exit 1
folder=$PWD

rm -rf copy && mkdir copy
(cd "$root" && files_of_project | xargs cp --parents -t "$folder/copy")
cd copy || exit 1

fresh() { rm -rf docs && cp -r "$root/docs" docs && cp "$root/README.md" README.md; }

run_test() {  # NAME
  case $1 in
    commands) "$here/commands_test.sh" . "$longspan" ;;
    tables) "$here/tables_test.sh" . "$course" ;;
    *) "$here/$1_test.sh" . ;;
  esac >said 2>&1
}

# finds TEST TEXT PAGE SED: the test fails, and says TEXT, after the page was changed.
finds() {
  fresh
  sed -i "$4" "$3"
  cmp -s "$3" "$root/$3" && complain "nothing was planted in $3 by $4"
  run_test "$1" && complain "the test of $1 does not see $4"
  grep -qF -- "$2" said || { complain "the test of $1 does not say \"$2\""; cat said; }
}

for name in links names commands tables; do
  fresh
  run_test "$name" || { complain "the test of $name fails without a fault"; cat said; }
done
finds links 'docs/04-the-rng.md is not there' README.md 's|docs/04-the-ring.md|docs/04-the-rng.md|'
finds links 'there is no heading #where-a-hop-goes' README.md 's|#where-a-hop-is-sent|#where-a-hop-goes|'
finds links 'there is no heading #where-a-hop-is-sent' docs/04-the-ring.md 's|^## Where a hop is sent|## Hops|'
finds links 'leaves the project' docs/README.md 's|(architecture.md)|(../../elsewhere.md)|'
finds names 'core/nn/liner.h is not there' README.md '$a\ `core/nn/liner.h`'
finds names 'there is no test RingPass.LatePosterIsCought' docs/04-the-ring.md \
  's/RingPass.LatePosterIsCaught/RingPass.LatePosterIsCought/'
finds names 'there is no test program mpi_com_test' docs/02-groups-and-mesh.md 's/`mpi_comm_test`/`mpi_com_test`/'
finds names 'nothing in the sources is called pass_over' docs/04-the-ring.md 's/`pass_on`/`pass_over`/'
finds names 'nothing is called timeout_second' docs/02-groups-and-mesh.md \
  's/`communication.timeout_seconds`/`communication.timeout_second`/'
finds names 'no source has the line: if (stash) stash->z = x;' docs/01-tensors-layers-stashes.md \
  's/^if (stash) stash->x = x;/if (stash) stash->z = x;/'
finds names 'parallel/comm/ring_pass.cc has no line: send();' docs/04-the-ring.md 's/^-  post();/-  send();/'
finds names 'docs/05-documents.md has no exercise' docs/05-documents.md 's/^## Exercise/## Homework/'
finds commands 'longspan has no command trian' README.md 's/longspan train --config/longspan trian --config/'
finds commands 'cannot read the configuration note.textproto' README.md \
  's/evaluate --config notes/evaluate --config note/'
finds commands 'did you mean "global_batch_sequences"' README.md \
  's/training.global_batch_sequences/training.global_batch_sequence/'
finds commands 'mesh has no field "contxt"' README.md 's/context: 2/contxt: 2/'
finds commands 'model has no field "hiden_size"' README.md 's/hidden_size: 256/hiden_size: 256/'
finds commands 'syntax error' docs/02-groups-and-mesh.md 's/^done$/doen/'
finds commands 'longspan has no command verfy' docs/02-groups-and-mesh.md \
  's/`longspan verify/`longspan verfy/'
finds tables 'course hops 4' docs/04-the-ring.md 's/^hop 1        3       0/hop 1        0       3/'
finds tables 'exit code 2' docs/02-groups-and-mesh.md 's/course mesh 2 4/course mash 2 4/'
finish
