#include "train/trace_recorder.h"

#include <fmt/format.h>

#include <algorithm>

#include "train/trace_file.h"

namespace longspan {

namespace {

constexpr size_t kMostEvents = size_t{1} << 20;

// An action is a range; if it is an attention's, each hop, or chunk of the sequence, is a few more, with its transfers and the
// waits for them. On a device each may be there twice.
size_t events_of_step(size_t num_actions, int ring, bool on_device) {
  return (on_device ? 2 : 1) * (256 + num_actions * (4 + 16 * static_cast<size_t>(ring)));
}

}  // namespace

void TraceRecorder::start(int64_t first_step, int64_t last_step, size_t num_actions) {
  const TraceSpec& trace = spec_.trace;
  if (trace.num_steps == 0 || spec_.output_directory.empty() || first_step > last_step) return;
  // The first step of a process also warms it up.
  const int64_t asked = trace.first_step > 0 ? trace.first_step : std::min(first_step + 1, last_step);
  first_ = std::max(asked, first_step);
  last_ = asked + trace.num_steps - 1;
  if (first_ <= last_ && first_ <= last_step) {
    const auto num_steps = static_cast<size_t>(std::min(last_, last_step) - first_ + 1);
    const bool on_device = rank_.context().stream().on_device();
    capacity_ =
        std::min(num_steps * events_of_step(num_actions, std::max(spec_.mesh.context, spec_.pipeline.sequence_chunks), on_device),
                 kMostEvents);
    if (world_.rank() == 0) make_trace_folder(folder());
    return;
  }
  note(fmt::format("metrics.trace_steps: this run does steps {} to {}, the trace was to be of {} to {}: there is none",
                   first_step, last_step, asked, last_));
}

std::string TraceRecorder::folder() const { return spec_.output_directory + "/trace"; }

void TraceRecorder::note(const std::string& text) {
  if (world_.rank() == 0) observer_.on_note(text);
}

ClockReading TraceRecorder::read_clock() {
  return read_reference_clock(rank_.context().host(), world_, [this] { return rank_.tracer().now_ns(); });
}

void TraceRecorder::before(int64_t step) {
  if (step != first_) return;
  clock_before_ = read_clock();
  const Context& host = rank_.context().host();
  const Tensor origin = host.empty({1}, DType::kInt64, MemoryTag::kWorkspace);
  *origin.data<int64_t>() = rank_.tracer().now_ns();
  world_.broadcast(host.stream(), origin, 0);
  origin_ns_ = *origin.data<int64_t>();
  rank_.tracer().start_recording(capacity_);
  recording_ = true;
}

void TraceRecorder::after(int64_t step, Run run) {
  if (recording_ && (step == last_ || run == Run::kEnds)) write(step);
}

void TraceRecorder::write(int64_t last_step) {
  recording_ = false;
  const HostVector<TraceEvent> events = rank_.tracer().stop_recording();
  const ReferenceClock clock(clock_before_, read_clock());
  const std::string path = fmt::format("{}/steps_{:08}_to_{:08}.json", folder(), first_, last_step);
  const size_t num_lost = rank_.tracer().num_lost();
  const std::string failure = write_trace_file(
      rank_.context().host(), world_, path,
      trace_objects({.rank = world_.rank(), .events = events, .num_lost = num_lost, .streams = rank_.tracer().streams()}, clock,
                    origin_ns_));
  if (!failure.empty()) return note(fmt::format("there is no trace: {}", failure));
  note(fmt::format("trace of steps {} to {}: {} (open it at ui.perfetto.dev)", first_, last_step, path));
  if (num_lost > 0) {
    note(fmt::format("{} events of rank 0 did not fit; trace fewer steps, or steps of fewer microbatches", num_lost));
  }
}

}  // namespace longspan
