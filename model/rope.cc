#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/runtime/parallel.h"

namespace longspan {

namespace {

// YARN: the pair that turns `turns` times within the original length.
double pair_of_turns(const RopeSpec& spec, double head_dim, double turns) {
  const double length = static_cast<double>(spec.original_max_positions);
  return head_dim * std::log(length / (turns * 2 * std::numbers::pi)) / (2 * std::log(spec.theta));
}

double yarn(const RopeSpec& spec, double head_dim, double pair, double frequency) {
  const double low = std::max(std::floor(pair_of_turns(spec, head_dim, spec.beta_fast)), 0.0);
  double high = std::min(std::ceil(pair_of_turns(spec, head_dim, spec.beta_slow)), head_dim - 1);
  if (high == low) high += 0.001;  // as the released code
  const double ramp = std::clamp((pair - low) / (high - low), 0.0, 1.0);
  return ramp * frequency / spec.factor + (1 - ramp) * frequency;
}

double llama3(const RopeSpec& spec, double frequency) {
  const double turns = static_cast<double>(spec.original_max_positions) * frequency / (2 * std::numbers::pi);
  if (turns < spec.low_frequency_factor) return frequency / spec.factor;
  if (turns > spec.high_frequency_factor) return frequency;
  const double smooth =
      (turns - spec.low_frequency_factor) / (spec.high_frequency_factor - spec.low_frequency_factor);
  return (1 - smooth) * frequency / spec.factor + smooth * frequency;
}

template <class T>
void fill(const Context& context, const std::vector<double>& frequencies, double factor,
          std::span<const int64_t> positions, const RotaryTable& table) {
  T* cosine = table.cosine.data<T>();
  T* sine = table.sine.data<T>();
  const auto num_pairs = static_cast<int64_t>(frequencies.size());
  parallel_for(context, static_cast<int64_t>(positions.size()), 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t i = 0; i < num_pairs; ++i) {
        const double angle =
            static_cast<double>(positions[static_cast<size_t>(t)]) * frequencies[static_cast<size_t>(i)];
        cosine[t * num_pairs + i] = static_cast<T>(factor * std::cos(angle));
        sine[t * num_pairs + i] = static_cast<T>(factor * std::sin(angle));
      }
    }
  });
}

}  // namespace

std::vector<double> inverse_frequencies(const RopeSpec& spec, int64_t head_dim) {
  const auto d = static_cast<double>(head_dim);
  double theta = spec.theta;
  // With two dims there is one pair, of frequency 1 whatever the base.
  if (spec.scaling == RopeScalingType::kNtk && head_dim > 2) theta *= std::pow(spec.factor, d / (d - 2));
  std::vector<double> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    double f = std::pow(theta, -2.0 * static_cast<double>(i) / d);
    if (spec.scaling == RopeScalingType::kLinear) f /= spec.factor;
    if (spec.scaling == RopeScalingType::kYarn) f = yarn(spec, d, static_cast<double>(i), f);
    if (spec.scaling == RopeScalingType::kLlama3) f = llama3(spec, f);
    frequencies.push_back(f);
  }
  return frequencies;
}

double attention_factor(const RopeSpec& spec) {
  if (spec.scaling != RopeScalingType::kYarn) return 1;
  if (spec.attention_factor > 0) return spec.attention_factor;
  return spec.factor <= 1 ? 1 : 0.1 * std::log(spec.factor) + 1;
}

RotaryTable make_rotary_table(const Context& context, const RopeSpec& spec, int64_t head_dim,
                              std::span<const int64_t> positions) {
  const DType dtype = context.accumulator_dtype();
  const Shape shape = {static_cast<int64_t>(positions.size()), head_dim / 2};
  const RotaryTable table = {.cosine = context.empty(shape, dtype), .sine = context.empty(shape, dtype)};
  const auto frequencies = inverse_frequencies(spec, head_dim);
  if (dtype == DType::kFloat64) {
    fill<double>(context, frequencies, attention_factor(spec), positions, table);
  } else {
    fill<float>(context, frequencies, attention_factor(spec), positions, table);
  }
  return table;
}

}  // namespace longspan
