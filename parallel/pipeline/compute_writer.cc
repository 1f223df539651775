#include "parallel/pipeline/compute_programs.h"

namespace longspan {

using Kind = Action::Kind;

void ComputeWriter::forward(int microbatch, int chunk) {
  const PlacedChunk& placed = shape_.placement.chunks[static_cast<size_t>(chunk)];
  for (int b = placed.begin; b < placed.end; ++b) program_.push_back({Kind::kForward, microbatch, b});
}

void ComputeWriter::backward(int microbatch, int chunk) {
  const PlacedChunk& placed = shape_.placement.chunks[static_cast<size_t>(chunk)];
  for (int b = placed.end; b-- > placed.begin;) {
    program_.push_back({Kind::kBackwardInput, microbatch, b});
    program_.push_back({Kind::kBackwardWeight, microbatch, b});
  }
}

void ComputeWriter::backward_input(int microbatch, int chunk) {
  const PlacedChunk& placed = shape_.placement.chunks[static_cast<size_t>(chunk)];
  for (int b = placed.end; b-- > placed.begin;) program_.push_back({Kind::kBackwardInput, microbatch, b});
}

void ComputeWriter::backward_weight(int microbatch, int block) {
  program_.push_back({Kind::kBackwardWeight, microbatch, block});
}

Program ComputeWriter::finish() {
  program_.push_back({Kind::kReduce, 0, 0});
  return std::move(program_);
}

}  // namespace longspan
