// Problems for block attention, their inputs, and a run of the kernels over them.
#pragma once

#include <string>
#include <vector>

#include "attention/kernels/block_attention.h"
#include "tests/attention/context_makers.h"
#include "tests/attention/exact_attention.h"

namespace longspan::test {

// Queries are the last of the keys' sequence, so that the first rows of longer queries see nothing.
struct Problem {
  enum class Kind { kCausal, kFull, kDocuments, kWindow, kScattered };
  int64_t num_queries, num_keys, num_heads, num_kv_heads, head_dim;
  Kind kind = Kind::kCausal;
  double logit_scale = 1;
};

std::string describe(const Problem& problem);
std::vector<IndexInterval> visible(const Problem& problem, uint64_t seed);

struct Inputs {
  Tensor q, k, v, dy;  // [queries, num_heads, head_dim], [keys, num_kv_heads, head_dim], as k, as q
};
// For the host.
Inputs make_inputs(const Context& context, const Problem& problem, DType dtype, uint64_t seed);
Inputs to_device(const Context& context, const Inputs& of_host);
Inputs as_double(const Context& context, const Inputs& inputs);

constexpr double kBegunGradient = 1.0 / 64;
struct Backward {
  double begun = kBegunGradient;  // what gradients are before
  enum class Output { kInAccumulator, kInComputeDtype } output = Output::kInAccumulator;  // of which delta is made
};
// Forward over the keys cut at `cuts` (0 ... number of keys), then backward in the same pieces. The scale is
// 1 / sqrt(head_dim).
Result attend(const Context& context, const Inputs& inputs, const std::vector<IndexInterval>& intervals,
              const std::vector<int64_t>& cuts, const Backward& options = {});
// Relative where numbers are large; infinite where one is not finite and the other differs.
double largest_lse_error(const std::vector<double>& got, const std::vector<double>& want);

// Names the parts of `got` that are further than `tolerance` and rounding from `want`; empty where none is.
std::string difference(const Result& got, const Result& want, double tolerance, const Rounding& rounding = {});
// Fails the test where one is.
void expect_near(const Result& got, const Result& want, double tolerance, const Rounding& rounding = {});

}  // namespace longspan::test
