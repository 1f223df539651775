#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace longspan {

double learning_rate(const OptimizerSpec& spec, int64_t step, int64_t num_steps) {
  if (step <= spec.warmup_steps) {
    return spec.learning_rate * static_cast<double>(step) / static_cast<double>(spec.warmup_steps);
  }
  const auto length = static_cast<double>(std::max<int64_t>(1, num_steps - spec.warmup_steps));
  const double done = std::min(1.0, static_cast<double>(step - spec.warmup_steps) / length);
  const double fall = spec.learning_rate - spec.minimum_learning_rate;
  switch (spec.schedule) {
    case ScheduleType::kCosine:
      return spec.minimum_learning_rate + fall * 0.5 * (1 + std::cos(std::numbers::pi * done));
    case ScheduleType::kLinear:
      return spec.minimum_learning_rate + fall * (1 - done);
    case ScheduleType::kConstant:
      break;
  }
  return spec.learning_rate;
}

}  // namespace longspan
