#include "train/schedule.h"

#include <gtest/gtest.h>

namespace longspan {
namespace {

OptimizerSpec spec_of(ScheduleType schedule) {
  OptimizerSpec spec;
  spec.learning_rate = 1;
  spec.minimum_learning_rate = 0.1;
  spec.warmup_steps = 10;
  spec.schedule = schedule;
  return spec;
}

TEST(LearningRate, WarmsUpAndFalls) {
  for (const auto type : {ScheduleType::kCosine, ScheduleType::kLinear, ScheduleType::kConstant}) {
    const OptimizerSpec spec = spec_of(type);
    EXPECT_DOUBLE_EQ(learning_rate(spec, 1, 110), 0.1);
    EXPECT_DOUBLE_EQ(learning_rate(spec, 10, 110), 1);
    EXPECT_DOUBLE_EQ(learning_rate(spec, 60, 110), type == ScheduleType::kConstant ? 1 : 0.55);
    EXPECT_DOUBLE_EQ(learning_rate(spec, 110, 110), type == ScheduleType::kConstant ? 1 : 0.1);
    for (int64_t step = 10; step < 110; ++step) {
      EXPECT_LE(learning_rate(spec, step + 1, 110), learning_rate(spec, step, 110));
    }
  }
}

TEST(LearningRate, ShortRuns) {
  OptimizerSpec spec = spec_of(ScheduleType::kCosine);
  EXPECT_DOUBLE_EQ(learning_rate(spec, 3, 3), 0.3) << "all of it is warm-up";
  spec.warmup_steps = 0;
  EXPECT_DOUBLE_EQ(learning_rate(spec, 1, 1), 0.1);
}

}  // namespace
}  // namespace longspan
