#include "parallel/pipeline/program.h"

#include <fmt/core.h>

#include "parallel/pipeline/verifier.h"

namespace longspan {

std::string Action::to_string() const {
  constexpr const char* kNames[] = {"F",
                                    "B",
                                    "W",
                                    "REDUCE",
                                    "START_REDUCE",
                                    "SEND_ACTIVATION",
                                    "RECEIVE_ACTIVATION",
                                    "SEND_GRADIENT",
                                    "RECEIVE_GRADIENT"};
  const char* kind_name = kNames[static_cast<int>(kind)];
  if (kind == Kind::kReduce) return kind_name;
  if (!sends() && !receives()) return fmt::format("{}(microbatch {}, block {})", kind_name, microbatch, block);
  return fmt::format("{}(microbatch {}, block {}, {} rank {})", kind_name, microbatch, block, sends() ? "to" : "from", peer);
}

Program single_stage_program(int num_microbatches, int num_blocks) {
  Program program;
  for (int m = 0; m < num_microbatches; ++m) {
    for (int b = 0; b < num_blocks; ++b) program.push_back({Action::Kind::kForward, m, b});
    for (int b = num_blocks - 1; b >= 0; --b) {
      program.push_back({Action::Kind::kBackwardInput, m, b});
      program.push_back({Action::Kind::kBackwardWeight, m, b});
    }
  }
  program.push_back({Action::Kind::kReduce, 0, 0});
  return program;
}

ProgramFacts verify(const Program& program, int num_microbatches, int num_blocks) {
  const PipelineShape shape{.placement = single_rank_placement(num_blocks), .num_microbatches = num_microbatches};
  return {.peak_stashes = verify_pipeline({.shape = shape, .ranks = {program}}).ranks.front().peak_stashes};
}

}  // namespace longspan
