// The yardstick of the benchmarks: what a core of this machine could do at most, measured in the same run.
#pragma once

#include <string_view>

#include "core/base/cpu_level.h"

namespace longspan {

// GFLOP/s a core of fp32 multiply-adds on registers alone, with the instructions of `level`, on `num_threads` threads at
// a time; the best of several short runs, by the CPU time of each thread. Takes about a tenth of a second.
double measure_fma_peak(int num_threads, CpuLevel level);

// CPU time of the calling thread, which other programs on the same core do not lengthen.
double thread_cpu_seconds();

}  // namespace longspan
