// Small runs on ranks that are threads, and what they say: for tests of what stops, goes on, and is spread over ranks.
#pragma once

#include "core/base/random.h"
#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "train/train.h"

namespace longspan::test::history {

struct Collect final : TrainObserver {
  void on_step(const StepReport& r) override { losses.push_back(r.loss); }
  void on_note(const std::string& text) override { notes += text + "\n"; }
  void on_evaluation(const EvaluationReport& r) override { evaluations.push_back(r.loss); }
  std::vector<double> losses, evaluations;
  std::string notes;
};

inline std::string some_text(int seed, int length) {
  std::string text;
  const RandomStream random(static_cast<uint64_t>(seed), "text");
  for (int i = 0; i < length; ++i) {
    text += "the quick brown fox jumps over lazy dogs "[random.below(static_cast<uint64_t>(i), 41)];
  }
  return text;
}

inline RunSpec small_run(const Folder& folder, const std::string& output) {
  RunSpec spec;
  spec.output_directory = folder / output;
  spec.model.hidden_size = 32;
  spec.model.num_layers = 2;
  spec.model.num_heads = 4;
  spec.model.num_kv_heads = 2;
  spec.model.head_dim = 8;
  spec.model.mlp_size = 48;
  spec.data.sources = {{.files = {folder.write("a", some_text(1, 700)), folder.write("b", some_text(2, 90)),
                                  folder.write("c", some_text(3, 333))}}};
  spec.data.sequence_length = 101;
  spec.global_batch_sequences = 4;
  spec.optimizer.learning_rate = 1e-2;
  spec.optimizer.warmup_steps = 3;
  spec.num_steps = 20;
  spec.tensorboard = RunSpec::TensorBoard::kOff;
  return spec;
}

struct History {
  TrainOutcome outcome = TrainOutcome::kDone;
  std::vector<double> losses, evaluations;
  std::string notes;
};

// stop_after: steps after which rank 1 (or the only rank) is asked to stop; 0: never.
inline History run(RunSpec spec, int data, int context, int stop_after = 0) {
  spec.mesh = {.pipeline = 1, .data = data, .context = context, .tensor = 1};
  History result;
  run_in_process(data * context, [&](Communicator& world) {
    Collect collect;
    const bool asked = world.rank() == (world.size() > 1 ? 1 : 0);
    const auto stop = [&] { return asked && stop_after > 0 && static_cast<int>(collect.losses.size()) + 1 >= stop_after; };
    const TrainOutcome outcome = train(spec, world, {}, collect, stop);
    if (world.rank() == 0) result = {outcome, collect.losses, collect.evaluations, collect.notes};
  });
  return result;
}

// What each rank sends in the run.
inline std::vector<size_t> bytes_sent_by_ranks(const RunSpec& spec) {
  std::vector<size_t> sent(static_cast<size_t>(spec.mesh.num_ranks()));
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& plain) {
    const auto log = std::make_shared<CommLog>();
    const auto world = make_recording_communicator(plain, log);
    TrainObserver silent;
    train(spec, *world, {}, silent, [] { return false; });
    sent[static_cast<size_t>(plain.rank())] = log->bytes_sent();
  });
  return sent;
}

// What each rank has under the tag when it has most of all.
inline std::vector<int64_t> bytes_of_ranks(const RunSpec& spec, MemoryTag tag) {
  struct Last final : TrainObserver {
    void on_step(const StepReport& report) override { by_tag = report.memory_bytes_by_tag; }
    std::array<int64_t, kNumMemoryTags> by_tag{};
  };
  std::vector<int64_t> bytes(static_cast<size_t>(spec.mesh.num_ranks()));
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    Last last;
    train(spec, world, {}, last, [] { return false; });
    bytes[static_cast<size_t>(world.rank())] = last.by_tag[static_cast<size_t>(tag)];
  });
  return bytes;
}

}  // namespace longspan::test::history
