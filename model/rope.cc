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

// Cosines and sines in double of multiples of `step` times each frequency; of those multiples that are asked for.
class Turns {
 public:
  Turns(const std::vector<double>& frequencies, int64_t step, int64_t count)
      : frequencies_(frequencies), step_(step), first_(static_cast<size_t>(count), kNone) {}

  void prepare(int64_t multiple) {
    size_t& first = first_[static_cast<size_t>(multiple)];
    if (first != kNone) return;
    first = cosine_.size();
    for (const double f : frequencies_) {
      const double angle = static_cast<double>(multiple * step_) * f;
      cosine_.push_back(std::cos(angle));
      sine_.push_back(std::sin(angle));
    }
  }
  const double* cosine(int64_t multiple) const { return &cosine_[first_[static_cast<size_t>(multiple)]]; }
  const double* sine(int64_t multiple) const { return &sine_[first_[static_cast<size_t>(multiple)]]; }

 private:
  static constexpr auto kNone = static_cast<size_t>(-1);
  const std::vector<double>& frequencies_;
  int64_t step_;
  std::vector<size_t> first_;
  std::vector<double> cosine_, sine_;
};

// A position is 256 a + b, and its angle the sum of two angles of small tables: a cosine costs two products instead of a call,
// which took a hundredth of a step. Every position has the same bits wherever it lies.
template <class T>
void fill(const Context& context, const std::vector<double>& frequencies, double factor,
          std::span<const int64_t> positions, const RotaryTable& table) {
  constexpr int64_t kFine = 256;
  T* cosine = table.cosine.data<T>();
  T* sine = table.sine.data<T>();
  const int64_t most = positions.empty() ? 0 : *std::max_element(positions.begin(), positions.end());
  Turns fine(frequencies, 1, kFine), coarse(frequencies, kFine, most / kFine + 1);
  for (const int64_t position : positions) {
    fine.prepare(position % kFine);
    coarse.prepare(position / kFine);
  }
  const auto num_pairs = static_cast<int64_t>(frequencies.size());
  parallel_for(context, static_cast<int64_t>(positions.size()), 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t position = positions[static_cast<size_t>(t)], a = position / kFine, b = position % kFine;
      const double *ca = coarse.cosine(a), *sa = coarse.sine(a), *cb = fine.cosine(b), *sb = fine.sine(b);
      for (int64_t i = 0; i < num_pairs; ++i) {
        cosine[t * num_pairs + i] = static_cast<T>(factor * (ca[i] * cb[i] - sa[i] * sb[i]));
        sine[t * num_pairs + i] = static_cast<T>(factor * (sa[i] * cb[i] + ca[i] * sb[i]));
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
  const Context& host = context.host();
  const RotaryTable table = {.cosine = host.empty(shape, dtype), .sine = host.empty(shape, dtype)};
  const auto frequencies = inverse_frequencies(spec, head_dim);
  if (dtype == DType::kFloat64) {
    fill<double>(context, frequencies, attention_factor(spec), positions, table);
  } else {
    fill<float>(context, frequencies, attention_factor(spec), positions, table);
  }
  return {.cosine = context.to_device(table.cosine), .sine = context.to_device(table.sine)};
}

}  // namespace longspan
