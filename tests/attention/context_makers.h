// The implementations of block attention that tests hold to the reference, by name.
#pragma once

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "attention/kernels/block_attention.h"

namespace longspan::test {

// What an implementation adds to the error of fp32 arithmetic. Those that multiply bfloat16 by bfloat16 round p and ds to
// nearest, to eight bits: each is off by at most 2^-8 of itself, independently of what it is multiplied with, and so are O and
// dv in the norm. dq and dk have that from ds and as much again from delta, which O enters. LSE is made of p that are not
// rounded: it has the error of their polynomial, for each piece that a case is cut into, of four at most.
struct Rounding {
  double output = 0, gradient = 0, lse = 0;
};
constexpr Rounding rounding_with(double exponential) {
  return {.output = 1.0 / 256, .gradient = 2.0 / 256, .lse = 4 * exponential};
}
Rounding rounding_in_tiles();

struct ContextMaker {
  std::string name;
  std::function<Context(DType compute_dtype, int num_threads)> make;
  Rounding bfloat16 = {};      // of results in bfloat16, beside the reference on the same inputs
  bool in_tiles = false;       // bfloat16 on tiles
  bool only_bfloat16 = false;  // float runs on kernels that another maker has
  bool slow = false;           // thousands of times: tests make their problems smaller

  Rounding rounding(DType dtype) const { return dtype == DType::kBFloat16 ? bfloat16 : Rounding{}; }
};
inline void PrintTo(const ContextMaker& maker, std::ostream* out) { *out << maker.name; }

// What a program tests. cpu_makers.cc: the vectorised kernels at every level this machine runs, and what only tests have;
// cuda/emulated_maker.cc: the cuda backend in the emulator.
const std::vector<ContextMaker>& context_makers();

// With attention alone.
Context level_context(CpuLevel level, DType dtype, int num_threads = 1);

}  // namespace longspan::test
