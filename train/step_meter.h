// StepMeter: what a step cost, in time and memory, for its report.
//
// The times are this rank's, from the ranges that the parts of a step open (core/runtime/trace.h): compute,
// communication that the rank waited for or did itself (exposed), data, and what no range covers (unaccounted) add up
// to the step's wall time; hidden communication lies under the others. A checkpoint and an evaluation come between
// steps and are part of none: a report has those that came before its step, each as a whole, the waiting for other ranks
// included.
//
// On a device the host only gives work to streams, and waits: what its ranges measure is neither how long the device computed nor
// what communication cost it. So there only step_seconds (the step ends when the host has read the losses, which the device
// computed), data_seconds, checkpoint and evaluation are told; what the streams did, the trace of a step shows.
//
// The moment at which memory was at its peak is that of the run so far; its bytes by tag add up to peak_memory_bytes.
#pragma once

#include <chrono>
#include <optional>

#include "parallel/comm/process_mesh.h"
#include "train/observer.h"
#include "train/rank_context.h"
#include "train/trace_recorder.h"

namespace longspan {

class StepMeter {
 public:
  // `peak_flop_per_second` of one rank's device; 0: not known.
  StepMeter(const RunSpec& spec, RankContext& rank, const ProcessMesh& mesh, TrainObserver& observer, double peak_flop_per_second)
      : rank_(rank), mesh_(mesh), recorder_(spec, rank, mesh.world(), observer), peak_flop_per_second_(peak_flop_per_second) {}

  // `num_actions` of a step's program.
  void start(int64_t first_step, int64_t last_step, size_t num_actions) {
    recorder_.start(first_step, last_step, num_actions);
  }
  void begin(int64_t step);
  // The step is done. Collective over the world: what ranks differ in is compared.
  void end(StepReport& report);
  // What followed the step is done, too.
  void close(int64_t step, TraceRecorder::Run run) { recorder_.after(step, run); }

 private:
  using Clock = std::chrono::steady_clock;
  void compare_ranks(StepReport& report);

  RankContext& rank_;
  const ProcessMesh& mesh_;
  TraceRecorder recorder_;
  double peak_flop_per_second_;
  Clock::time_point begin_;
  double waited_before_ = 0;
  TimeBreakdown between_;  // the step before and this one
  std::optional<TraceRange> range_;
};

}  // namespace longspan
