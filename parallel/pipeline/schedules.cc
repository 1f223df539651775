#include "parallel/pipeline/schedules.h"

#include <algorithm>

#include "core/base/error.h"
#include "parallel/pipeline/communication_pass.h"
#include "parallel/pipeline/compute_programs.h"

namespace longspan {

namespace {

void check_microbatches(const PipelineShape& shape) {
  const int chunks = shape.sequence_chunks, microbatches = shape.num_microbatches;
  check(chunks >= 1 && microbatches >= 1, "{} microbatches of {} chunks a sequence", microbatches, chunks);
  const int rest = microbatches % chunks;
  if (rest == 0) return;
  const int below = std::max(microbatches - rest, chunks);
  raise(ErrorKind::kConfiguration, "{} microbatches are no whole number of sequences of {} chunks; use {}", microbatches,
        chunks, rest <= chunks - rest ? below : microbatches - rest + chunks);
}

}  // namespace

const char* name(PipelineSchedule schedule) {
  constexpr const char* kNames[] = {"GPipe", "1F1B", "interleaved", "zero bubble"};
  return kNames[static_cast<int>(schedule)];
}

PipelineProgram make_pipeline_program(PipelineSchedule schedule, const PipelineShape& shape, const PipelineCosts& costs) {
  check_microbatches(shape);
  switch (schedule) {
    case PipelineSchedule::kGPipe:
      return insert_communication(shape, gpipe_compute(shape));
    case PipelineSchedule::kOneForwardOneBackward:
      return insert_communication(shape, one_forward_one_backward_compute(shape));
    case PipelineSchedule::kInterleaved:
      return insert_communication(shape, interleaved_compute(shape));
    case PipelineSchedule::kZeroBubble:
      return make_zero_bubble(shape, costs);
  }
  raise(ErrorKind::kInternal, "{} is no schedule", static_cast<int>(schedule));
}

PipelineProgram make_forward_program(const PipelineShape& shape) {
  std::vector<Program> compute(static_cast<size_t>(shape.placement.num_ranks));
  const int at_once = shape.placement.num_ranks;
  for (int first = 0; first < shape.num_microbatches; first += at_once) {
    for (const PlacedChunk& chunk : shape.placement.chunks) {
      for (int m = first; m < std::min(first + at_once, shape.num_microbatches); ++m) {
        for (int b = chunk.begin; b < chunk.end; ++b) {
          compute[static_cast<size_t>(chunk.rank)].push_back({Action::Kind::kForward, m, b});
        }
      }
    }
  }
  return insert_communication(shape, compute);
}

}  // namespace longspan
