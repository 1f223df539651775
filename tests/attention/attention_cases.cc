#include "tests/attention/attention_cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/support/emulated_attention.h"
#include "tests/support/tensors.h"

namespace longspan::test {

std::string describe(const Problem& p) {
  return fmt::format("{} queries, {} keys, heads {}/{} x {}, kind {}, logits {}", p.num_queries, p.num_keys, p.num_heads,
                     p.num_kv_heads, p.head_dim, static_cast<int>(p.kind), p.logit_scale);
}

std::vector<IndexInterval> visible(const Problem& p, uint64_t seed) {
  const RandomStream random(seed, "visible");
  std::vector<IndexInterval> intervals;
  for (int64_t i = 0; i < p.num_queries; ++i) {
    const int64_t at = p.num_keys - p.num_queries + i;
    switch (p.kind) {
      case Problem::Kind::kCausal:
        intervals.push_back({0, at + 1});
        break;
      case Problem::Kind::kFull:
        intervals.push_back({0, p.num_keys});
        break;
      case Problem::Kind::kDocuments:
        intervals.push_back({at / 37 * 37, at + 1});
        break;
      case Problem::Kind::kWindow:
        intervals.push_back({at - 50, at + 1});
        break;
      case Problem::Kind::kScattered: {
        const auto draw = [&](int64_t n) {
          return static_cast<int64_t>(random.below(static_cast<uint64_t>(2 * i + n), static_cast<uint64_t>(p.num_keys + 1)));
        };
        intervals.push_back({draw(0), draw(1)});  // often empty
        break;
      }
    }
  }
  return intervals;
}

Inputs make_inputs(const Context& context, const Problem& p, DType dtype, uint64_t seed) {
  const auto make = [&](const char* name, int64_t tokens, int64_t heads, double scale) {
    return random_tensor(context, {tokens, heads, p.head_dim}, dtype, seed, name, scale);
  };
  return {make("q", p.num_queries, p.num_heads, p.logit_scale), make("k", p.num_keys, p.num_kv_heads, 1),
          make("v", p.num_keys, p.num_kv_heads, 1), make("dy", p.num_queries, p.num_heads, 1)};
}

Inputs to_device(const Context& context, const Inputs& of_host) {
  const auto moved = [&](const Tensor& x) { return context.to_device(x); };
  return {moved(of_host.q), moved(of_host.k), moved(of_host.v), moved(of_host.dy)};
}

Inputs as_double(const Context& context, const Inputs& inputs) {
  const auto converted = [&](const Tensor& x) {
    Tensor y = context.empty(x.shape(), DType::kFloat64);
    const auto v = values(x);
    std::copy(v.begin(), v.end(), y.data<double>());
    return y;
  };
  return {converted(inputs.q), converted(inputs.k), converted(inputs.v), converted(inputs.dy)};
}

namespace {

Tensor filled(const Context& context, const Shape& shape, double value) {
  const Tensor x = context.host().empty(shape, context.accumulator_dtype());
  for (int64_t i = 0; i < x.num_elements(); ++i) {
    if (x.dtype() == DType::kFloat64) x.data<double>()[i] = value;
    if (x.dtype() == DType::kFloat32) x.data<float>()[i] = static_cast<float>(value);
  }
  return context.to_device(x);
}

// As ring attention keeps it for backward.
Tensor in_compute_dtype(const Context& context, const Tensor& output) {
  if (context.compute_dtype() != DType::kBFloat16) return output;
  const Tensor exact = context.to_host(output), kept = context.host().empty(output.shape(), DType::kBFloat16);
  std::transform(exact.data<float>(), exact.data<float>() + exact.num_elements(), kept.data<bfloat16>(),
                 [](float x) { return bfloat16(x); });
  return context.to_device(kept);
}

}  // namespace

Result attend(const Context& context, const Inputs& t, const std::vector<IndexInterval>& intervals,
              const std::vector<int64_t>& cuts, const Backward& options) {
  const auto& kernel = context.kernels<BlockAttention>();
  const double scale = 1 / std::sqrt(static_cast<double>(t.q.size(2)));
  const DType dtype = context.accumulator_dtype();
  const AttentionState state = kernel.initial_state(context, t.q.size(0), t.q.size(1), t.q.size(2));
  AttentionGradient g;
  g.doutput = t.dy;
  g.lse = state.lse;
  g.delta = context.empty(state.lse.shape(), dtype);
  g.dq = filled(context, t.q.shape(), options.begun);
  const Tensor dk = filled(context, t.k.shape(), options.begun), dv = filled(context, t.v.shape(), options.begun);
  for (const bool backward : {false, true}) {
    if (backward) {
      const bool kept = options.output == Backward::Output::kInComputeDtype;
      kernel.delta(context, kept ? in_compute_dtype(context, state.output) : state.output, t.dy, g.delta);
    }
    for (size_t c = 0; c + 1 < cuts.size(); ++c) {
      const KeyIntervals piece(intervals, {{.start = cuts[c], .stride = 1, .length = cuts[c + 1] - cuts[c]}});
      const auto part = [&](const Tensor& x) { return x.slice(0, cuts[c], cuts[c + 1]); };
      const AttentionBlock block = {.q = t.q, .k = part(t.k), .v = part(t.v), .visible = &piece, .scale = scale};
      g.dk = part(dk);
      g.dv = part(dv);
      if (backward) {
        kernel.backward(context, block, g);
      } else {
        kernel.forward(context, block, state);
      }
    }
  }
  const auto read = [&](const Tensor& x) { return values(context.to_host(x)); };
  return {read(state.output), read(state.lse), read(g.dq), read(dk), read(dv)};
}

double largest_lse_error(const std::vector<double>& got, const std::vector<double>& want) {
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;
    if (!std::isfinite(want[i]) || !std::isfinite(got[i])) return INFINITY;
    largest = std::max(largest, std::abs(got[i] - want[i]) / std::max(1.0, std::abs(want[i])));
  }
  return largest;
}

std::string difference(const Result& got, const Result& want, double tolerance, const Rounding& rounding) {
  std::string all;
  const auto expect_less = [&](const char* part, double error, double allowed) {
    if (!(error < allowed)) all += fmt::format("{}: an error of {} is not less than {}\n", part, error, allowed);
  };
  expect_less("O", relative_error(got.output, want.output), tolerance + rounding.output);
  expect_less("LSE", largest_lse_error(got.lse, want.lse), tolerance + rounding.lse);
  expect_less("dQ", relative_error(got.dq, want.dq), tolerance + rounding.gradient);
  expect_less("dK", relative_error(got.dk, want.dk), tolerance + rounding.gradient);
  expect_less("dV", relative_error(got.dv, want.dv), tolerance + rounding.output);
  return all;
}

void expect_near(const Result& got, const Result& want, double tolerance, const Rounding& rounding) {
  EXPECT_EQ(difference(got, want, tolerance, rounding), "");
}

}  // namespace longspan::test
