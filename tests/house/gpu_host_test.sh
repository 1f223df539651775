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

[ "$failures" = 0 ] && echo "all as expected"
exit $((failures > 0))
