// The yardstick of the benchmarks: what a core of this machine could do at most, measured in the same run.
#pragma once

#include <string_view>

#include "core/base/cpu_level.h"
#include "core/tensor/dtype.h"

namespace longspan {

// GFLOP/s a core of fp32 multiply-adds on registers alone, with the instructions of `level`, on `num_threads` threads at
// a time; the best of several short runs, by the CPU time of each thread. Takes about a tenth of a second.
double measure_fma_peak(int num_threads, CpuLevel level);

// The same for products of `dtype`: of bfloat16 with the level's own instructions for them where it has some, which may be
// dot products of pairs or products of tiles; else as fp32.
double measure_product_peak(int num_threads, CpuLevel level, DType dtype);

// CPU time of the calling thread, which other programs on the same core do not lengthen.
double thread_cpu_seconds();

}  // namespace longspan
