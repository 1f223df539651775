#include "parallel/pipeline/program.h"

#include <algorithm>

#include <fmt/core.h>

#include "core/base/error.h"

namespace longspan {

namespace {

class Verifier {
 public:
  Verifier(int num_microbatches, int num_blocks)
      : num_microbatches_(num_microbatches),
        num_blocks_(num_blocks),
        progress_(static_cast<size_t>(num_microbatches) * static_cast<size_t>(num_blocks), Done::kNothing) {}

  void take(const Action& action) {
    check(!reduced_, "{} comes after the reduction", action.to_string());
    if (action.kind == Action::Kind::kReduce) {
      check(num_finished_ == static_cast<int64_t>(progress_.size()), "the reduction comes before the last W");
      reduced_ = true;
      return;
    }
    check(action.microbatch >= 0 && action.microbatch < num_microbatches_ && action.block >= 0 &&
              action.block < num_blocks_,
          "{} is outside {} microbatches and {} blocks", action.to_string(), num_microbatches_, num_blocks_);
    switch (action.kind) {
      case Action::Kind::kForward:
        if (action.block > 0) expect(action, action.block - 1, Done::kForward);
        advance(action, Done::kNothing, Done::kForward);
        facts_.peak_stashes = std::max(facts_.peak_stashes, ++num_stashes_);
        break;
      case Action::Kind::kBackwardInput:
        if (action.block + 1 < num_blocks_) expect(action, action.block + 1, Done::kBackwardInput);
        advance(action, Done::kForward, Done::kBackwardInput);
        break;
      case Action::Kind::kBackwardWeight:
        advance(action, Done::kBackwardInput, Done::kBackwardWeight);
        --num_stashes_;
        ++num_finished_;
        break;
      case Action::Kind::kReduce:
        break;
    }
  }

  ProgramFacts finish() const {
    check(reduced_, "the program has no reduction");
    return facts_;
  }

 private:
  enum class Done { kNothing, kForward, kBackwardInput, kBackwardWeight };

  Done& at(int microbatch, int block) { return progress_[static_cast<size_t>(microbatch) * static_cast<size_t>(num_blocks_) + static_cast<size_t>(block)]; }

  void expect(const Action& action, int block, Done least) {
    check(at(action.microbatch, block) >= least, "{} comes before its input from block {}", action.to_string(), block);
  }

  void advance(const Action& action, Done from, Done to) {
    Done& done = at(action.microbatch, action.block);
    check(done == from, "{} is out of order or doubled", action.to_string());
    done = to;
  }

  int num_microbatches_, num_blocks_;
  std::vector<Done> progress_;
  int num_stashes_ = 0;
  int64_t num_finished_ = 0;
  bool reduced_ = false;
  ProgramFacts facts_;
};

}  // namespace

std::string Action::to_string() const {
  constexpr const char* kNames[] = {"F", "B", "W", "REDUCE"};
  const char* kind_name = kNames[static_cast<int>(kind)];
  if (kind == Kind::kReduce) return kind_name;
  return fmt::format("{}(microbatch {}, block {})", kind_name, microbatch, block);
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
  Verifier verifier(num_microbatches, num_blocks);
  for (const Action& action : program) verifier.take(action);
  return verifier.finish();
}

}  // namespace longspan
