#!/bin/bash
# Installs the build and uses it as another project would: find_package(longspan), link longspan::core, run.
#   install_test.sh SOURCES BUILD SCRATCH
set -euo pipefail
sources=$1 build=$2 scratch=$3
rm -rf "$scratch"
mkdir -p "$scratch"
fail() { echo "install_test: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$scratch/installed" >"$scratch/install.log" 2>&1 || { cat "$scratch/install.log"; fail "cannot install"; }
# Moved, so that nothing can lean on the place it was installed to.
mv "$scratch/installed" "$scratch/prefix"
[ "$("$scratch/prefix/bin/longspan" --version)" = "$("$build/longspan" --version)" ] || fail "another program was installed"
[ -f "$scratch/prefix/share/longspan/configs/quickstart.textproto" ] || fail "no configurations"
[ -x "$scratch/prefix/share/longspan/cluster/mpirun.sh" ] || fail "no cluster scripts"

cp -r "$sources/tests/house/consumer" "$scratch/consumer"
{ cmake -S "$scratch/consumer" -B "$scratch/consumer/build" -DCMAKE_PREFIX_PATH="$scratch/prefix" -DCMAKE_BUILD_TYPE=Release &&
  cmake --build "$scratch/consumer/build"; } >"$scratch/consumer.log" 2>&1 || { cat "$scratch/consumer.log"; fail "cannot build another project"; }
said=$("$scratch/consumer/build/consumer")
[ "$said" = "3 12" ] || fail "the installed core computed \"$said\", not \"3 12\""
if grep -rlF "$sources/" "$scratch/prefix/lib/cmake" "$scratch/prefix/include"; then fail "the package names the source tree"; fi
