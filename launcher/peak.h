// The yardstick of the benchmarks: what a core of this machine could do at most, measured in the same run.
#pragma once

#include <functional>
#include <string>

#include "core/base/cpu_level.h"

namespace longspan {

// GFLOP/s a core of fp32 multiply-adds on registers alone, with the instructions of `level`, on `num_threads` threads at
// a time; the best of several short runs, by the CPU time of each thread. Takes about a tenth of a second.
double measure_fma_peak(int num_threads, CpuLevel level);

// The same of bfloat16 products summed in float32: dot products in registers (AVX512_BF16, vdpbf16ps), and products of tiles
// (AMX, tdpbf16ps) whose operands are zeros in registers, or random numbers that are loaded from the first cache, which
// draws more power and may slow the clock. 0 where the machine has no such instructions.
enum class AmxOperands { kRegisters, kRandomFromCache };
double measure_dot_peak(int num_threads);
double measure_amx_peak(int num_threads, AmxOperands operands);

// All of them in one line, for the top of a benchmark.
std::string describe_peaks(int num_threads, CpuLevel level);

// The mean of what `measure` returns on each of `num_threads` threads at a time.
double average_of_threads(int num_threads, const std::function<double()>& measure);

// CPU time of the calling thread, which other programs on the same core do not lengthen.
double thread_cpu_seconds();

}  // namespace longspan
