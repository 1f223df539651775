#!/bin/sh
# The tile kernels as compiled for processors that have a tile unit: the instructions are there, as often as the loops say.
# $1: objdump; the rest: objects, among them those of forward.cc and backward.cc
set -eu
[ -x "$1" ] || { echo "no objdump: skipped"; exit 77; }
OBJDUMP=$1
shift
for object in "$@"; do
  case $object in
    *forward.cc.o) FORWARD=$object ;;
    *backward.cc.o) BACKWARD=$object ;;
  esac
done
fail() {
  echo "$1"
  exit 1
}

# Prints how often each instruction of one function stands in it.
# $1: object, $2: pattern of the function's mangled name
count_in() {
  "$OBJDUMP" -d --no-show-raw-insn "$1" | awk -v name="$2" '
    /^[0-9a-f]+ <.*>:$/ { inside = ($0 ~ name) }
    inside && NF > 1 { n[$2]++; if ($0 ~ /zmm/ && $0 ~ /\(%r[sb]p/) spills++ }
    END { printf "%d %d %d %d %d %d\n", n["tdpbf16ps"], n["tileloadd"], n["tileloaddt1"], n["tilestored"], n["tilezero"], spills }'
}

# $1: what, $2: counts wanted (multiplications, loads, stream loads, stores, zeros), $3: most vectors kept on the stack, $4: counts
expect() {
  found=${4% *}
  [ "$found" = "$2" ] || fail "$1: $found instead of $2 multiplications, loads, stream loads, stores and zeros"
  [ "${4##* }" -le "$3" ] || fail "$1: ${4##* } accesses to vectors on the stack"
}

# One unit of scores and one of output; two and one at 64 dims; both units of a block's first phase.
expect "forward, 128 dims" "32 24 16 8 4" 20 "$(count_in "$FORWARD" 'ForwardStreamILi128.*iterate_oneILb0')"
expect "forward, 64 dims" "32 26 16 12 8" 40 "$(count_in "$FORWARD" 'ForwardStreamILi64.*iterate_twoILb0')"
expect "backward, 128 dims" "32 20 16 8 8" 20 "$(count_in "$BACKWARD" 'BlockGradientILi128.*multiply_scoresILb0')"
expect "backward, 64 dims" "16 12 8 8 8" 20 "$(count_in "$BACKWARD" 'BlockGradientILi64.*multiply_scoresILb0')"
