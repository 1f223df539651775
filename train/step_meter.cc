#include "train/step_meter.h"

#include <algorithm>
#include <limits>

namespace longspan {

namespace {
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
}  // namespace

void StepMeter::begin(int64_t step) {
  recorder_.before(step);
  begin_ = Clock::now();
  between_ = rank_.tracer().take();
  waited_before_ = mesh_.axis(Axis::kContext).waited_seconds();
  range_.emplace(&rank_.tracer(), TimeCategory::kNone, "step", TraceArgs{.step = step});
}

void StepMeter::end(StepReport& report) {
  compare_ranks(report);
  report.exposed_wait_seconds = mesh_.axis(Axis::kContext).waited_seconds() - waited_before_;
  range_.reset();
  const TimeBreakdown times = rank_.tracer().take();
  report.step_seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  const double peak_flop = report.step_seconds * peak_flop_per_second_ * mesh_.world().size();
  if (peak_flop > 0) report.mfu = report.model_flop / peak_flop;
  report.compute_seconds = times[TimeCategory::kCompute];
  report.communication_exposed_seconds = times[TimeCategory::kCommunication];
  report.communication_hidden_seconds = times.hidden_communication_seconds;
  report.data_seconds = times[TimeCategory::kData];
  report.unaccounted_seconds = times[TimeCategory::kNone];
  report.checkpoint_seconds = between_[TimeCategory::kCheckpoint];
  report.evaluation_seconds = between_[TimeCategory::kEvaluation];
  if (!rank_.context().stream().on_device()) return;
  report.exposed_wait_seconds = report.compute_seconds = report.unaccounted_seconds = kUnknown;
  report.communication_exposed_seconds = report.communication_hidden_seconds = kUnknown;
  report.compute_seconds_min = report.compute_seconds_max = kUnknown;
}

void StepMeter::compare_ranks(StepReport& report) {
  const Context& host = rank_.context().host();
  const MemoryStatistics memory = rank_.memory();
  report.peak_memory_bytes = static_cast<int64_t>(memory.peak_bytes);
  std::copy(memory.by_tag_at_peak.begin(), memory.by_tag_at_peak.end(), report.memory_bytes_by_tag.begin());
  const Tensor extremes = host.empty({3}, DType::kFloat64, MemoryTag::kWorkspace);
  auto* e = extremes.data<double>();
  e[0] = rank_.tracer().so_far()[TimeCategory::kCompute];  // all of it: nothing is computed after this
  e[1] = -e[0];
  e[2] = static_cast<double>(memory.peak_bytes);
  mesh_.world().all_reduce(host.stream(), extremes, ReduceOp::kMax);
  report.compute_seconds_max = e[0];
  report.compute_seconds_min = -e[1];
  report.peak_memory_bytes_max = static_cast<int64_t>(e[2]);
}

}  // namespace longspan
