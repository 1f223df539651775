#include "launcher/bench_tools.h"

#include <algorithm>

#include "core/base/random.h"

namespace longspan {

double Stopwatch::time(int num_calls) const {
  const bool cpu_time = by_ == By::kFairest && !context_.stream().on_device() && context_.num_threads() == 1;
  const auto now = cpu_time ? thread_cpu_seconds : clock_seconds;
  context_.stream().synchronize();
  const double start = now();
  for (int i = 0; i < num_calls; ++i) body_();
  context_.stream().synchronize();
  return now() - start;
}

double Stopwatch::sample() {
  constexpr double kSampleSeconds = 0.01;
  if (num_calls_ == 0) {
    num_calls_ = 1;
    if (context_.stream().on_device()) {
      time(1);  // memory is asked for, kernels are loaded, and products are chosen
      num_calls_ = static_cast<int>(std::clamp(kSampleSeconds / time(1), 1.0, 1000.0));
    }
  }
  samples_.push_back(time(num_calls_) / num_calls_);
  return samples_.back();
}

double Stopwatch::seconds() const {
  std::vector<double> sorted = samples_;
  std::sort(sorted.begin(), sorted.end());
  return context_.stream().on_device() ? sorted.at(sorted.size() / 2) : sorted.at(0);
}

double Stopwatch::seconds_within(double min_seconds) {
  const double begin = clock_seconds();
  for (int i = 0; i < 3 || clock_seconds() - begin < min_seconds; ++i) sample();
  return seconds();
}

Tensor random_tensor(const Context& context, const Shape& shape, DType dtype, const char* name) {
  constexpr uint64_t kDistinct = 65521;  // prime, so that rows differ; drawing every element would take longer than the case
  const RandomStream random(1, name);
  std::vector<float> drawn;
  for (uint64_t i = 0; i < kDistinct; ++i) drawn.push_back(static_cast<float>(random.normal(i)));
  Tensor x = context.empty(shape, dtype);
  context.write_from_host(x, [&](const Tensor& host) {
    for (int64_t i = 0; i < host.num_elements(); ++i) {
      const float value = drawn[static_cast<uint64_t>(i) % kDistinct];
      if (dtype == DType::kFloat32) {
        host.data<float>()[i] = value;
      } else {
        host.data<bfloat16>()[i] = bfloat16(value);
      }
    }
  });
  return x;
}

Tensor spread_tokens(const Context& context, int64_t count, int64_t bound) {
  Tensor tokens = context.empty({count}, DType::kInt32);
  context.write_from_host(tokens, [&](const Tensor& host) {
    for (int64_t t = 0; t < count; ++t) host.data<int32_t>()[t] = static_cast<int32_t>(t * 7919 % bound);
  });
  return tokens;
}

}  // namespace longspan
