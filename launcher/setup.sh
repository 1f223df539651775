# Shared by launcher/quickstart and tests/run: source it from the root of the project. Installs what is missing where that
# is allowed, says exactly what to install where it is not, and builds a preset. Exit code 5: resources are missing.

exit_resources=5

say() { printf '%s\n' "$*"; }
complain() { printf '%s\n' "$*" >&2; }

listed_packages() { sed 's/#.*//' launcher/packages.txt | tr -s ' \t\n' '\n' | sed '/^$/d'; }

# What of the list is not there. Without dpkg nothing can be said of packages, so the tools themselves are looked for.
missing_packages() {
  local package tool
  if command -v dpkg-query >/dev/null; then
    for package in $(listed_packages); do
      dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
    done
  else
    for tool in g++ cmake ninja pkg-config mpirun protoc xz; do
      command -v "$tool" >/dev/null || printf '%s ' "$tool"
    done
  fi
}

# As root, or through sudo where it asks for no password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
may_install() {
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }
}

refuse_packages() {
  complain "These packages are needed and cannot be installed from here: $*"
  complain "As root, run:"
  complain "  apt-get update && apt-get install -y --no-install-recommends $*"
  exit "$exit_resources"
}

install_packages() {
  local missing
  missing=$(missing_packages)
  missing=${missing% }
  [ -n "$missing" ] || return 0
  may_install || refuse_packages "$missing"
  say "Installing $missing"
  # shellcheck disable=SC2086  # a list of names
  { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing </dev/null; } ||
    refuse_packages "$missing"
}

# CUDA's compiler: where CUDACXX says, in PATH, or where it usually is; nothing if there is none. CMake looks where CUDACXX says.
find_nvcc() {
  local nvcc=${CUDACXX:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
  [ ! -x "$nvcc" ] || echo "$nvcc"
}

available_cpus() { nproc 2>/dev/null || echo 1; }

# One job per CPU, but no more than memory feeds: an optimised build of one file takes up to 1.5 GB.
build_jobs() {
  local cpus memory_kb by_memory
  cpus=$(available_cpus)
  memory_kb=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo 2>/dev/null)
  by_memory=$(((${memory_kb:-4000000}) / 1500000))
  [ "$by_memory" -ge 1 ] || by_memory=1
  [ "$cpus" -le "$by_memory" ] && echo "$cpus" || echo "$by_memory"
}

# build_preset NAME TARGET...: build/NAME, everything if no target is named. Output is shown where it fails.
build_preset() {
  local preset=$1 log
  shift
  mkdir -p build
  log=build/$preset.log
  if ! cmake --preset "$preset" >"$log" 2>&1; then
    cat "$log" >&2
    complain "Configuring the preset $preset failed; the messages above are also in $log"
    return 1
  fi
  if [ -t 1 ]; then
    NINJA_STATUS='[%f/%t, %e s] ' cmake --build --preset "$preset" -j "$(build_jobs)" ${1:+--target "$@"} && return 0
  else
    cmake --build --preset "$preset" -j "$(build_jobs)" ${1:+--target "$@"} >>"$log" 2>&1 && return 0
    grep -v '^\[' "$log" | tail -60 >&2
  fi
  complain "Building the preset $preset failed"
  return 1
}
