#!/bin/bash
# `tests/run --gpu` says all that a host lacks, and builds nothing then: gpu_host_test.sh ROOT SCRATCH
# nvcc and nvidia-smi are stand-ins.
set -u
root=$(cd "$1" && pwd)
rm -rf "$2" && mkdir -p "$2/tools" && cd "$2" || exit 1
tools=$PWD/tools
failures=0

tool() { printf '#!/bin/bash\n%s\n' "$2" >"$tools/$1" && chmod +x "$tools/$1"; }  # NAME BODY
of_cuda() { tool nvcc "echo 'Cuda compilation tools, release $1, V$1.0'"; }

expect() {  # WORDS...
  local words
  CUDACXX=$tools/nvcc PATH=$tools:$PATH "$root/tests/run" --gpu >said 2>&1 </dev/null
  [ $? = 5 ] || { echo "FAILED: exit code is not 5"; failures=$((failures + 1)); }
  for words in "$@" docs/gpu.md; do
    grep -qF -- "$words" said || { echo "FAILED: does not say \"$words\""; cat said; failures=$((failures + 1)); }
  done
  [ "$(wc -l <said)" = $(($# + 1)) ] || { echo "FAILED: says more than what is missing"; cat said; failures=$((failures + 1)); }
}

tool nvidia-smi 'echo "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver"; exit 9'
expect 'needs nvcc of CUDA 13' 'needs a GPU: nvidia-smi -L says "NVIDIA-SMI has failed'
of_cuda 12.9
expect "needs CUDA 13: $tools/nvcc is of CUDA 12.9" 'needs a GPU'
of_cuda 13.0
expect 'needs a GPU: nvidia-smi -L says'
tool nvidia-smi 'if [ "${1:-}" = -L ]; then echo "GPU 0: NVIDIA H100"; else echo "| Driver Version: 535.1  CUDA Version: 12.2 |"; fi'
expect 'needs a driver for CUDA 13: this one is for CUDA 12'
tool nvidia-smi 'echo "No devices were found"'
expect 'needs a GPU: nvidia-smi -L says "No devices were found"'

# Kernels under compute-sanitizer, which is a stand-in, too, as are the programs.
sanitize() {  # TOOL EXIT-CODE LAST-LINE
  CUDACXX=$tools/nvcc "$root/tests/support/gpu_sanitize" "$1" programs >said 2>&1
  [ $? = "$2" ] || { echo "FAILED: gpu_sanitize $1 does not end with $2"; cat said; failures=$((failures + 1)); }
  [ "$(tail -1 said)" = "$3" ] || { echo "FAILED: gpu_sanitize $1 does not say \"$3\""; cat said; failures=$((failures + 1)); }
}

sanitize memcheck 77 'memcheck: there is no compute-sanitizer'
tool compute-sanitizer '[ "$1 $3 $4" = "--tool --error-exitcode 66" ] || exit 1; echo "$2 $*" >>asked; shift 4; "$@"'
mkdir -p programs/core/cuda programs/attention/cuda
for program in core/cuda/gpu_conformance_test core/cuda/gpu_kernels_test attention/cuda/gpu_attention_test; do
  printf '#!/bin/bash\nexit 0\n' >programs/$program && chmod +x programs/$program
done
sanitize memcheck 0 'memcheck 3 passed 0 failed'
printf '#!/bin/bash\necho "a hazard"; exit 66\n' >programs/core/cuda/gpu_kernels_test
sanitize racecheck 1 'racecheck 2 passed 1 failed'
grep -q 'a hazard' said || { echo "FAILED: gpu_sanitize does not show what failed"; failures=$((failures + 1)); }
[ "$(grep -c '^memcheck' asked) $(grep -c '^racecheck' asked)" = "3 3" ] || { cat asked; failures=$((failures + 1)); }
# The tests that it asks for exist under that name, or a sanitizer would find nothing in none of them.
for test in 'DeviceKernels, AgreeWithTheReference)' 'DeviceAttention, EveryKindOfMaskAndHead)'; do
  grep -rqF "$test" "$root/tests" --include='*_device_test.cc' || { echo "FAILED: there is no test $test"; failures=$((failures + 1)); }
done

[ "$failures" = 0 ] && echo "all as expected"
exit $((failures > 0))
