// The implementations of block attention that tests hold to the reference, by name.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "attention/kernels/block_attention.h"

namespace longspan::test {

struct ContextMaker {
  std::string name;
  std::function<Context(DType compute_dtype, int num_threads)> make;
  // Of results in bfloat16, beside the reference on the same inputs: what widens to float, and what rounds p and ds.
  double bfloat16_tolerance = 3e-6;
  bool only_bfloat16 = false;  // float runs on kernels that another maker has
};

// The vectorised kernels at every level this machine runs, and what only tests have.
const std::vector<ContextMaker>& context_makers();

// With attention alone.
Context level_context(CpuLevel level, DType dtype, int num_threads = 1);

}  // namespace longspan::test
