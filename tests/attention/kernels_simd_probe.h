// What simd.h computes at each level.
#pragma once

#include <cstdint>

namespace longspan {

// y[i] = exp2(x[i]) of simd.h; n is a multiple of 16.
namespace portable {
void probe_exp2(const float* x, int64_t n, float* y);
float probe_sum(const float* x);  // of the first vector
}  // namespace portable
namespace avx2 {
void probe_exp2(const float* x, int64_t n, float* y);
float probe_sum(const float* x);
}  // namespace avx2
namespace avx512 {
void probe_exp2(const float* x, int64_t n, float* y);
float probe_sum(const float* x);
}  // namespace avx512

}  // namespace longspan
