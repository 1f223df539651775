// The yardstick of the benchmarks: what a core of this machine could do at most, measured in the same run.
#pragma once

#include <string_view>

#include "core/base/cpu_level.h"

namespace longspan {

struct FmaPeak {
  CpuLevel level = CpuLevel::kPortable;
  double gflops_per_core = 0;
};

// GFLOP/s of fp32 multiply-adds on registers alone, at the best level of this machine, on `num_threads` threads at a
// time; the best of several short runs, by the CPU time of each thread. Takes about a tenth of a second.
FmaPeak measure_fma_peak(int num_threads);

// CPU time of the calling thread, which other programs on the same core do not lengthen.
double thread_cpu_seconds();

}  // namespace longspan
