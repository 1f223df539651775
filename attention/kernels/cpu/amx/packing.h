// Transposed copies of rows of one head (tasks.h: layouts), and the way back.
#pragma once

#include "attention/kernels/cpu/amx/tasks.h"
#include "attention/kernels/cpu/amx/vectors.h"

namespace longspan::LS_CPU_LEVEL {

void pack(const PackTask& task);
void add_dq(const GradientOutput& output);
void add_dkv(const GradientOutput& output);

// The first n of 16 lanes, for any n.
LS_ALWAYS_INLINE __mmask16 first_lanes(int64_t n) {
  return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1u);
}
LS_ALWAYS_INLINE __mmask32 first_halves(int64_t n) {
  return n >= 32 ? 0xffffffffu : n <= 0 ? 0 : (1u << n) - 1u;
}

// B tiles [16 pairs of dims][16 rows] of 16 rows.
void pack_columns(const PackRows& from, int64_t first, int64_t padded, bfloat16* to);

}  // namespace longspan::LS_CPU_LEVEL
