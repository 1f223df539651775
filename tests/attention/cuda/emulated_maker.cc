#include "tests/attention/context_makers.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/simt/scheduler.h"

namespace longspan::test {

namespace {

// Each context gets another schedule; whatever it is, results are the same.
Context make_emulated(DType dtype, int) {
  static uint64_t seed = 0;
  simt::options() = {};
  simt::options().seed = ++seed;
  return emulated_cuda_context(dtype);
}

std::vector<ContextMaker> all_makers() {
  constexpr double kExponential = 2.5e-7;  // ex2.approx: two units of the last place
  ContextMaker maker;
  maker.name = "cuda_emulated";
  maker.make = make_emulated;
  maker.bfloat16 = rounding_with(kExponential);
  maker.slow = true;
  return {maker};
}

}  // namespace

const std::vector<ContextMaker>& context_makers() {
  static const std::vector<ContextMaker> makers = all_makers();
  return makers;
}

}  // namespace longspan::test
