#include "launcher/peak.h"

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

namespace longspan {
namespace {

// Enough independent sums to cover the latency of two units, few enough for 16 registers.
constexpr int kSums = 12;

// Each run_* does kSums multiply-adds of one vector `repeats` times and returns the floating-point operations of that.
// The empty or written-out assembly keeps the compiler from computing the outcome itself.
#if defined(__x86_64__)
__attribute__((target("avx512f"), noinline)) double run_avx512(int64_t repeats) {
  typedef float Vector __attribute__((vector_size(64)));
  Vector sum[kSums] = {}, x = Vector{} + 0.99f, y = Vector{} + 0.5f;
  for (int64_t n = 0; n < repeats; ++n) {
#pragma GCC unroll 12
    for (Vector& s : sum) asm volatile("vfmadd213ps %2, %1, %0" : "+v"(s) : "v"(x), "v"(y));
  }
  return 2.0 * 16 * kSums * static_cast<double>(repeats);
}

__attribute__((target("avx2,fma"), noinline)) double run_avx2(int64_t repeats) {
  typedef float Vector __attribute__((vector_size(32)));
  Vector sum[kSums] = {}, x = Vector{} + 0.99f, y = Vector{} + 0.5f;
  for (int64_t n = 0; n < repeats; ++n) {
#pragma GCC unroll 12
    for (Vector& s : sum) asm volatile("vfmadd213ps %2, %1, %0" : "+x"(s) : "x"(x), "x"(y));
  }
  return 2.0 * 8 * kSums * static_cast<double>(repeats);
}
#endif

__attribute__((noinline)) double run_portable(int64_t repeats) {
  typedef float Vector __attribute__((vector_size(16)));
  Vector sum[kSums] = {}, x = Vector{} + 0.99f, y = Vector{} + 0.5f;
  for (int64_t n = 0; n < repeats; ++n) {
#pragma GCC unroll 12
    for (Vector& s : sum) {
      s = s * x + y;
#if defined(__x86_64__)
      asm volatile("" : "+x"(s));
#elif defined(__aarch64__)
      asm volatile("" : "+w"(s));
#endif
    }
  }
  return 2.0 * 4 * kSums * static_cast<double>(repeats);
}

double run(CpuLevel level, int64_t repeats) {
#if defined(__x86_64__)
  if (vector_level(level) == CpuLevel::kAvx512) return run_avx512(repeats);
  if (level == CpuLevel::kAvx2) return run_avx2(repeats);
#endif
  static_cast<void>(level);
  return run_portable(repeats);
}

double gflops_of_this_core(CpuLevel level) {
  constexpr int64_t kRepeats = 1000000;
  double best = 0;
  for (int i = 0; i < 9; ++i) {
    const double start = thread_cpu_seconds();
    const double flops = run(level, kRepeats);
    best = std::max(best, flops / (thread_cpu_seconds() - start) * 1e-9);
  }
  return best;
}

}  // namespace

double thread_cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double measure_fma_peak(int num_threads, CpuLevel level) {
  std::vector<double> gflops(static_cast<size_t>(num_threads));
  {
    std::vector<std::jthread> threads;
    for (size_t i = 1; i < gflops.size(); ++i) {
      threads.emplace_back([&gflops, level, i] { gflops[i] = gflops_of_this_core(level); });
    }
    gflops[0] = gflops_of_this_core(level);
  }
  return std::accumulate(gflops.begin(), gflops.end(), 0.0) / num_threads;
}

}  // namespace longspan
