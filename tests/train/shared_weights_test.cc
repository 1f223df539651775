// Ranks that share gradients, and weights, too: the steps of one rank, to the bit those of ranks that share the optimizer's state
// where sums have one order; what is kept and what is moved.
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "parallel/data/ring_reduction.h"
#include "tests/train/history.h"
#include "train/checkpoint.h"
#include "train/verify.h"

namespace longspan::test {
namespace {

using namespace history;
using Sharding = RunSpec::Sharding;

RunSpec shared_run(const Folder& folder, const MeshShape& mesh, Sharding state, const std::string& output = "") {
  RunSpec spec = small_run(folder, output);
  if (output.empty()) spec.output_directory = "";
  spec.mesh = mesh;
  spec.sharding = state;
  spec.compute_dtype = DType::kFloat64;
  spec.num_steps = 4;
  spec.bucket_elements = 1;
  return spec;
}

// What all ranks together end with.
struct Ended {
  std::vector<double> losses, norms, evaluations;
  std::map<std::string, std::vector<double>> weights;
};

class KeepAll final : public TrainObserver {
 public:
  KeepAll(Ended& ended, std::mutex& mutex, const RunSpec& spec, bool first)
      : ended_(ended), mutex_(mutex), spec_(spec), first_(first) {}
  void on_model(Decoder& decoder) override { parameters_ = &decoder.parameters(); }
  void on_evaluation(const EvaluationReport& r) override {
    if (first_) ended_.evaluations.push_back(r.loss);
  }
  void on_step(const StepReport& r) override {
    if (first_) {
      ended_.losses.push_back(r.loss);
      ended_.norms.push_back(r.grad_norm);
    }
    if (r.step != spec_.num_steps) return;
    const std::lock_guard lock(mutex_);
    for (const ParameterSet::Part& part : parameters_->parts()) {
      auto& whole = ended_.weights[part.parameter->name];
      whole.resize(static_cast<size_t>(part.parameter->box.whole.num_elements()));
      const Tensor master = part.master;
      const auto* next = static_cast<const std::byte*>(master.raw());
      for (const Box& box : boxes_of_range(part.parameter->box, part.begin, part.end)) {
        if (master.dtype() == DType::kFloat64) {
          copy_overlap(box, next, Box::all_of(box.whole), reinterpret_cast<std::byte*>(whole.data()), sizeof(double));
        }
        next += static_cast<size_t>(box.num_elements()) * size_bytes(master.dtype());
      }
    }
  }

 private:
  Ended& ended_;
  std::mutex& mutex_;
  const RunSpec& spec_;
  bool first_;
  ParameterSet* parameters_ = nullptr;
};

Ended ended(const RunSpec& spec) {
  Ended result;
  std::mutex mutex;
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    KeepAll keep(result, mutex, spec, world.rank() == 0);
    train(spec, world, {}, keep, [] { return false; });
  });
  return result;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, const std::string& what, double scale = 0) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], 1e-11 * std::max(scale, std::abs(want[i]))) << what << ", number " << i;
  }
}

void expect_same(const Ended& got, const Ended& want) {
  expect_near(got.losses, want.losses, "loss");
  expect_near(got.norms, want.norms, "norm");
  expect_near(got.evaluations, want.evaluations, "evaluation");
  ASSERT_EQ(got.weights.size(), want.weights.size());
  for (const auto& [name, values] : want.weights) expect_near(got.weights.at(name), values, name, 0.1);
}

// Sizes that divide by nothing, clipping in each step, and an evaluation in between.
RunSpec odd_run(const Folder& folder, const MeshShape& mesh, Sharding state, ModelSpec::Tie tie) {
  RunSpec spec = shared_run(folder, mesh, state);
  spec.model.vocabulary_size = 131;
  spec.model.mlp_size = 45;
  spec.model.tie_embeddings = tie;
  spec.model.qk_norm = ModelSpec::QkNorm::kYes;
  spec.model.bias = ModelSpec::Bias::kQkv;
  spec.global_batch_sequences = 24;
  spec.micro_batch_sequences = 1;
  spec.optimizer.gradient_clip = 0.1;
  spec.evaluation.data = spec.data;
  spec.evaluation.interval_steps = 2;
  spec.evaluation.max_sequences = 8;
  spec.data.sequence_length = 37;
  return spec;
}

TEST(SharedWeights, EveryMeshTakesTheStepsOfOneRank) {
  const Folder folder;
  for (const auto tie : {ModelSpec::Tie::kNo, ModelSpec::Tie::kYes}) {
    const Ended one = ended(odd_run(folder, {}, Sharding::kNone, tie));
    ASSERT_EQ(one.losses.size(), 4u);
    ASSERT_EQ(one.evaluations.size(), 2u);
    for (const MeshShape& mesh : {MeshShape{.data = 2}, MeshShape{.data = 3}, MeshShape{.data = 4}, MeshShape{.data = 8},
                                  MeshShape{.context = 3}, MeshShape{.data = 2, .context = 2}, MeshShape{.data = 2, .tensor = 2},
                                  MeshShape{.data = 3, .tensor = 4}, MeshShape{.data = 2, .context = 2, .tensor = 2}}) {
      for (const Sharding state : {Sharding::kGradients, Sharding::kWeights}) {
        SCOPED_TRACE(fmt::format("{}, state {}, tied {}", mesh.to_string(), static_cast<int>(state), static_cast<int>(tie)));
        expect_same(ended(odd_run(folder, mesh, state, tie)), one);
      }
    }
  }
}

TEST(SharedWeights, BucketsOfEverySizeDo) {
  const Folder folder;
  const Ended one = ended(odd_run(folder, {}, Sharding::kNone, ModelSpec::Tie::kNo));
  for (const int64_t elements : {5000, 10000, 1 << 20}) {
    for (const Sharding state : {Sharding::kGradients, Sharding::kWeights}) {
      RunSpec spec = odd_run(folder, {.data = 3}, state, ModelSpec::Tie::kNo);
      spec.bucket_elements = elements;
      expect_same(ended(spec), one);
    }
  }
}

// With one microbatch a sum has the same order whatever is shared. With more, gradients that are shared are summed over the ranks
// first and over microbatches then; else the other way round.
TEST(SharedWeights, ChangeNoBitOfOneMicrobatch) {
  const Folder folder;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const MeshShape& mesh : {MeshShape{.data = 4}, MeshShape{.data = 2, .context = 2}, MeshShape{.data = 2, .tensor = 2}}) {
      const auto losses = [&](Sharding state) {
        RunSpec spec = shared_run(folder, mesh, state);
        spec.compute_dtype = dtype;
        spec.global_batch_sequences = mesh.data;
        return ended(spec).losses;
      };
      const std::vector<double> optimizer = losses(Sharding::kOptimizer);
      EXPECT_EQ(losses(Sharding::kGradients), optimizer) << mesh.to_string();
      EXPECT_EQ(losses(Sharding::kWeights), optimizer) << mesh.to_string();
    }
  }
}

// Bytes of a tag that a rank holds at its peak in the second step.
std::array<int64_t, kNumMemoryTags> memory_of(RunSpec spec) {
  struct Last final : TrainObserver {
    void on_step(const StepReport& report) override { by_tag = report.memory_bytes_by_tag; }
    std::array<int64_t, kNumMemoryTags> by_tag{};
  };
  std::array<int64_t, kNumMemoryTags> found{};
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    Last last;
    train(spec, world, {}, last, [] { return false; });
    if (world.rank() == 0) found = last.by_tag;
  });
  return found;
}

// Many layers, so that one of them is little. What is not divided is what is in flight: of gradients a bucket that is added to
// and those that sums have not let go; of weights that of the block at work and the next.
TEST(SharedWeights, AreDividedAmongTheRanks) {
  const Folder folder;
  constexpr int kRanks = 4;
  const auto bytes = [&](Sharding state, MemoryTag tag) {
    RunSpec spec = shared_run(folder, {.data = kRanks}, state);
    spec.compute_dtype = DType::kFloat32;
    spec.model.num_layers = 24;
    spec.num_steps = 2;
    spec.data.sequence_length = 11;
    return static_cast<double>(memory_of(spec)[static_cast<size_t>(tag)]);
  };
  const double all = bytes(Sharding::kOptimizer, MemoryTag::kGradients);
  const double layer = all / 26;  // nearly
  const double gradients = bytes(Sharding::kGradients, MemoryTag::kGradients);
  EXPECT_LE(gradients, all / kRanks + (1 + RingReduction::kMostTaken + 1) * layer * 1.2);
  EXPECT_NEAR(bytes(Sharding::kGradients, MemoryTag::kWeights), all, 0.01 * all) << "each value";
  EXPECT_LE(bytes(Sharding::kWeights, MemoryTag::kWeights), all / kRanks + 2 * layer * 1.5);
  EXPECT_LE(bytes(Sharding::kWeights, MemoryTag::kGradients), all / kRanks + (1 + RingReduction::kMostTaken + 1) * layer * 1.2);
}

// Of B bytes of a bucket each rank sends (R - 1) / R B: once a microbatch for its sums, and each time it is gathered, which is in
// forward and in backward but for the two blocks where these meet.
TEST(SharedWeights, MoveTheBytesOfTheirFormula) {
  constexpr size_t kRanks = 4, kMicrobatches = 3;
  const Folder folder;
  const auto sent = [&](Sharding state, int64_t steps) {
    RunSpec spec = shared_run(folder, {.data = kRanks}, state);
    spec.compute_dtype = DType::kBFloat16;
    spec.global_batch_sequences = kRanks * kMicrobatches;
    spec.num_steps = steps;
    return bytes_sent_by_ranks(spec).front();
  };
  std::vector<size_t> buckets;  // elements
  {
    const RunSpec spec = shared_run(folder, {}, Sharding::kNone);
    const auto alone = make_self_communicator();
    Decoder decoder(spec.model, *alone, 16);
    for (const Bucket& b : decoder.parameters().layout({.num_ranks = kRanks, .bucket_elements = 1}).buckets) {
      buckets.push_back(static_cast<size_t>(b.range.size()));
    }
  }
  ASSERT_EQ(buckets.size(), 4u);
  size_t all = 0;
  for (const size_t elements : buckets) all += elements;
  const size_t sums = kMicrobatches * all * sizeof(float);
  // Forward begins with the two buckets that backward has left, and backward with those that forward has left.
  const size_t gathered =
      2 * kMicrobatches * all - kMicrobatches * (buckets[3] + buckets[2]) - (kMicrobatches - 1) * (buckets[0] + buckets[1]);
  EXPECT_EQ(sent(Sharding::kGradients, 3) - sent(Sharding::kGradients, 2),
            (sums + all * sizeof(bfloat16)) * (kRanks - 1) / kRanks);
  EXPECT_EQ(sent(Sharding::kWeights, 3) - sent(Sharding::kWeights, 2),
            (sums + gathered * sizeof(bfloat16)) * (kRanks - 1) / kRanks);
}

TEST(SharedWeights, CheckpointsGoFromStateToState) {
  const Folder folder;
  const auto six_sequences = [&](const MeshShape& mesh, Sharding state, const std::string& output) {
    RunSpec spec = shared_run(folder, mesh, state, output);
    spec.global_batch_sequences = 6;
    return spec;
  };
  const Ended whole = ended(six_sequences({}, Sharding::kNone, ""));
  const std::pair<Sharding, MeshShape> runs[] = {{Sharding::kWeights, {.data = 3}},
                                                 {Sharding::kGradients, {.data = 2, .tensor = 2}},
                                                 {Sharding::kWeights, {.data = 2, .context = 2}},
                                                 {Sharding::kNone, {.data = 2}},
                                                 {Sharding::kWeights, {.data = 2, .tensor = 3}}};
  for (size_t i = 0; i + 1 < std::size(runs); ++i) {
    const std::string output = fmt::format("run_{}", i);
    const RunSpec first = six_sequences(runs[i].second, runs[i].first, output);
    std::vector<double> losses;
    run_in_process(first.mesh.num_ranks(), [&](Communicator& world) {
      Collect collect;
      train(first, world, {}, collect, [&] { return collect.losses.size() + 1 >= 2; });
      if (world.rank() == 0) losses = collect.losses;
    });
    ASSERT_EQ(losses.size(), 2u);
    const Ended rest = ended(six_sequences(runs[i + 1].second, runs[i + 1].first, output));
    losses.insert(losses.end(), rest.losses.begin(), rest.losses.end());
    expect_near(losses, whole.losses, fmt::format("from {}", runs[i].second.to_string()));
    for (const auto& [name, values] : whole.weights) expect_near(rest.weights.at(name), values, name, 0.1);
  }
}

TEST(SharedWeights, AreVerified) {
  const Folder folder;
  for (const Sharding state : {Sharding::kGradients, Sharding::kWeights}) {
    for (const MeshShape& mesh : {MeshShape{.data = 2, .context = 2}, MeshShape{.data = 2, .tensor = 2}}) {
      RunSpec spec = shared_run(folder, mesh, state);
      spec.num_steps = 1;
      const OneRank one_rank(spec, DType::kFloat64, {});
      run_in_process(4, [&](Communicator& world) {
        const VerifyReport report = one_rank.compare(world, {});
        EXPECT_EQ(report.difference, "");
        EXPECT_GT(report.num_tensors, 20);
      });
    }
  }
}

}  // namespace
}  // namespace longspan::test
