// TraceRecorder: records the steps that metrics.trace_steps asks for and writes them to output_directory/trace.
#pragma once

#include <string>

#include "parallel/comm/reference_clock.h"
#include "train/observer.h"
#include "train/rank_context.h"

namespace longspan {

class TraceRecorder {
 public:
  TraceRecorder(const RunSpec& spec, RankContext& rank, Communicator& world, TrainObserver& observer)
      : spec_(spec), rank_(rank), world_(world), observer_(observer) {}

  // The steps that this process will do, and how many actions each has. Raises Error(kResource) where there can be no
  // folder for the trace.
  void start(int64_t first_step, int64_t last_step, size_t num_actions);
  // Around each step, with what follows it. Collective where a recording begins or ends: at the last step asked for, or
  // the last that the run does.
  void before(int64_t step);
  enum class Run { kGoesOn, kEnds };
  void after(int64_t step, Run run);

 private:
  std::string folder() const;
  ClockReading read_clock();
  void write(int64_t last_step);
  void note(const std::string& text);

  const RunSpec& spec_;
  RankContext& rank_;
  Communicator& world_;
  TrainObserver& observer_;
  int64_t first_ = 0, last_ = -1;  // steps; none
  size_t capacity_ = 0;            // events
  bool recording_ = false;
  int64_t origin_ns_ = 0;  // of rank 0's clock
  ClockReading clock_before_;
};

}  // namespace longspan
