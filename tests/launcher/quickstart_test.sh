#!/bin/bash
# launcher/quickstart with a program that is built, a small text and a few steps: quickstart_test.sh LONGSPAN FOLDER
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$2
rm -rf "$folder"
mkdir -p "$folder/text" || exit 1
for i in $(seq 60); do
  for j in $(seq 40); do echo "Line $j of file $i was written to be read."; done >"$folder/text/$i.txt"
done
run=$root/runs/quickstart-$(echo "$folder/text" | cksum | cut -d' ' -f1)
rm -rf "$run"
trap 'rm -rf "$run"' EXIT
LONGSPAN=$1 QUICKSTART_STEPS=6 "$root/launcher/quickstart" "$folder/text" >"$folder/said" 2>&1 </dev/null
code=$?
failures=0
complain() { echo "FAILED: $*"; failures=$((failures + 1)); }
[ "$code" = 0 ] || complain "exit code $code"
[ "$(wc -l <"$run/metrics.jsonl")" -ge 6 ] || complain "fewer than 6 steps"
for text in 'step 6/6' 'bits per byte' 'xz -9' 'the model:' 'Done in'; do
  grep -qF -- "$text" "$folder/said" || complain "does not say \"$text\""
done
[ "$failures" = 0 ] && exit
cat "$folder/said"
exit 1
