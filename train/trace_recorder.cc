#include "train/trace_recorder.h"

#include <fmt/format.h>

#include <algorithm>

#include "train/trace_file.h"

namespace longspan {

namespace {

constexpr size_t kEventsPerStep = size_t{1} << 15;
constexpr size_t kMostEvents = size_t{1} << 19;

}  // namespace

void TraceRecorder::start(int64_t first_step, int64_t last_step) {
  const TraceSpec& trace = spec_.trace;
  if (trace.num_steps == 0 || spec_.output_directory.empty() || first_step > last_step) return;
  // The first step of a process also warms it up.
  const int64_t asked = trace.first_step > 0 ? trace.first_step : std::min(first_step + 1, last_step);
  first_ = std::max(asked, first_step);
  last_ = asked + trace.num_steps - 1;
  if (first_ <= last_ && first_ <= last_step) return;
  note(fmt::format("metrics.trace_steps: this run does steps {} to {}, the trace was to be of {} to {}: there is none",
                   first_step, last_step, asked, last_));
}

void TraceRecorder::note(const std::string& text) {
  if (world_.rank() == 0) observer_.on_note(text);
}

ClockReading TraceRecorder::read_clock() {
  return read_reference_clock(rank_.context(), world_, [this] { return rank_.tracer().now_ns(); });
}

void TraceRecorder::before(int64_t step) {
  if (step != first_) return;
  clock_before_ = read_clock();
  Context& context = rank_.context();
  const Tensor origin = context.empty({1}, DType::kInt64, MemoryTag::kWorkspace);
  *origin.data<int64_t>() = rank_.tracer().now_ns();
  world_.broadcast(context.stream(), origin, 0);
  origin_ns_ = *origin.data<int64_t>();
  const auto num_steps = static_cast<size_t>(last_ - first_ + 1);
  rank_.tracer().start_recording(std::min(num_steps * kEventsPerStep, kMostEvents));
  recording_ = true;
}

void TraceRecorder::after(int64_t step, Run run) {
  if (recording_ && (step == last_ || run == Run::kEnds)) write(step);
}

void TraceRecorder::write(int64_t last_step) {
  recording_ = false;
  const HostVector<TraceEvent> events = rank_.tracer().stop_recording();
  const ReferenceClock clock(clock_before_, read_clock());
  const std::string path = fmt::format("{}/trace/steps_{:08}_to_{:08}.json", spec_.output_directory, first_, last_step);
  const size_t num_lost = rank_.tracer().num_lost();
  write_trace_file(rank_.context(), world_, path,
                   trace_objects({.rank = world_.rank(), .events = events, .num_lost = num_lost}, clock, origin_ns_));
  note(fmt::format("trace of steps {} to {}: {} (open it at ui.perfetto.dev)", first_, last_step, path));
  if (num_lost > 0) note(fmt::format("{} events of rank 0 did not fit; trace fewer steps", num_lost));
}

}  // namespace longspan
