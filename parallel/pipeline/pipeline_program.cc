#include "parallel/pipeline/pipeline_program.h"

#include "core/base/error.h"

namespace longspan {

const BlockCosts& PipelineCosts::of(const PipelineShape& shape, int microbatch, int block) const {
  const int row = microbatch % shape.sequence_chunks;
  return blocks[static_cast<size_t>(row * shape.placement.num_blocks() + block) % blocks.size()];
}

int64_t PipelineCosts::bytes_of_message(const PipelineShape& shape, int microbatch) const {
  if (message_bytes.empty()) return 0;
  return message_bytes[static_cast<size_t>(microbatch % shape.sequence_chunks) % message_bytes.size()];
}

double PipelineCosts::seconds_of_message(const PipelineShape& shape, int microbatch) const {
  return seconds_per_message + seconds_per_byte * static_cast<double>(bytes_of_message(shape, microbatch));
}

double PipelineCosts::seconds_of(const PipelineShape& shape, const Action& action) const {
  const BlockCosts& cost = of(shape, action.microbatch, action.block);
  switch (action.kind) {
    case Action::Kind::kForward:
      return cost.forward_seconds;
    case Action::Kind::kBackwardInput:
      return cost.backward_input_seconds;
    case Action::Kind::kBackwardWeight:
      return cost.backward_weight_seconds;
    default:
      return 0;
  }
}

void check_costs(const PipelineCosts& costs, const PipelineShape& shape) {
  const auto num_blocks = static_cast<size_t>(shape.placement.num_blocks());
  const auto num_chunks = static_cast<size_t>(shape.sequence_chunks);
  const size_t rows = costs.blocks.size(), messages = costs.message_bytes.size();
  check(rows == 1 || rows == num_blocks || rows == num_chunks * num_blocks,
        "costs of {} blocks for {} blocks and {} chunks of a sequence", rows, num_blocks, num_chunks);
  check(messages <= 1 || messages == num_chunks, "bytes of {} messages for {} chunks of a sequence", messages, num_chunks);
}

}  // namespace longspan
