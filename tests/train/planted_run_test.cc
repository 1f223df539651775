// Runs in which one small thing goes wrong on one rank: a row that gets lost, a number that is none, weights that nobody
// gathered. Each is noticed, by the run itself where it can be, else by the comparison with one rank, and named.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/train/faulty_kernels.h"
#include "tests/train/verified_run.h"

namespace longspan::test {
namespace {

using Sharding = RunSpec::Sharding;

// A row that the head loses spoils first a sum over all rows, which no rank's part explains, and then that row's own gradient.
TEST(Planted, ADroppedRowIsNamed) {
  const auto found = [](const RunSpec& run, int rank, Kernels kernels) {
    return verified(run, DType::kFloat64, {.rank = rank, .faults = {}, .kernels = std::move(kernels)}).difference;
  };
  const auto expect = [&](const RunSpec& run, int rank, const std::string& name) {
    const std::string queries = found(run, rank, with_fault<BlockAttention, DropsARow>(5));
    EXPECT_EQ(queries.find(name + ", gradient of the output of model.layers.0, microbatch 0, token "), 0u) << queries;
    const std::string logits = found(run, rank, with_fault<Loss, DropsARowOfLogits>(5));
    EXPECT_NE(logits.find(", gradient of lm_head.weight by microbatch 0, "), std::string::npos) << logits;
    EXPECT_NE(logits.find("; the first after it that a rank has wrong by itself: " + name +
                          ", gradient of the output of model.layers.1, microbatch 0, token "),
              std::string::npos)
        << logits;
  };
  RunSpec run = small_run(1, 3);
  expect(run, 1, "rank 1");
  run.mesh = {.data = 2, .context = 2, .tensor = 2};
  run.global_batch_sequences = 2;
  expect(run, 6, "rank 6 (data 1, context 1, tensor 0)");
}

// On one rank, one number of the gradient of one parameter, in the second step.
class NotANumberInASlice final : public TrainObserver {
 public:
  explicit NotANumberInASlice(bool here) : here_(here) {}
  void on_gradients(const Context&, int64_t step, const ParameterSet& parameters) override {
    if (!here_ || step != 2) return;
    const ParameterSet::Part& part = parameters.parts()[parameters.parts().size() / 2];
    name = part.parameter->name;
    part.gradient.data<float>()[part.gradient.num_elements() - 1] = std::nanf("");
  }
  void on_step(const StepReport&) override { ++num_steps; }
  std::string name;
  int num_steps = 0;

 private:
  bool here_;
};

TEST(Planted, NotANumberInASliceOfAGradientEndsTheRunByName) {
  for (const MeshShape& mesh : {MeshShape{.data = 2}, MeshShape{.data = 2, .tensor = 2}, MeshShape{.pipeline = 2, .data = 2}}) {
    for (const auto sharding : {Sharding::kNone, Sharding::kOptimizer, Sharding::kGradients, Sharding::kWeights}) {
      SCOPED_TRACE(fmt::format("{}, state {}", mesh.to_string(), static_cast<int>(sharding)));
      RunSpec run = small_run(2, 1);
      run.mesh = mesh;
      run.sharding = sharding;
      run.num_steps = 3;
      const Folder folder;
      const SyntheticDocuments documents(run, folder.path());
      run.data.sources = {{.files = {documents.folder()}}};
      run.data.format = DataFormat::kTokensU32;
      const int last = mesh.num_ranks() - 1;
      std::string name;
      std::vector<std::string> ends(static_cast<size_t>(mesh.num_ranks()));
      run_in_process(mesh.num_ranks(), [&](Communicator& world) {
        NotANumberInASlice observer(world.rank() == last);
        try {
          train(run, world, {.num_threads = 1}, observer, [] { return false; });
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::kNumerical);
          ends[static_cast<size_t>(world.rank())] = error.what();
        }
        EXPECT_EQ(observer.num_steps, 1);
        if (world.rank() == last) name = observer.name;
      });
      for (const std::string& end : ends) {
        EXPECT_NE(end.find(fmt::format("; on rank {}, 1 of ", last)), std::string::npos) << end;
        EXPECT_NE(end.find(fmt::format(" numbers of the gradient of {} are not finite; ", name)), std::string::npos) << end;
      }
    }
  }
}

// Nothing that was given away keeps its numbers, and nothing that is new has some.
class PoisonedMemory final : public MemoryResource {
 private:
  void* do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) override {
    return std::memset(host_.allocate(num_bytes, stream, tag), kNotANumber, num_bytes);
  }
  void do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept override {
    std::memset(pointer, kNotANumber, num_bytes);
    host_.deallocate(pointer, num_bytes, stream, tag);
  }
  static constexpr int kNotANumber = 0xFF;  // in each byte: of every floating type
  HostResource host_;
};

// A block that read weights, or added to gradients, that nobody opened for it would make the loss not a number.
TEST(Planted, SharedStateIsThereWhereItIsRead) {
  struct Losses final : TrainObserver {
    void on_step(const StepReport& report) override { losses.push_back(report.loss); }
    void on_evaluation(const EvaluationReport& report) override { losses.push_back(report.loss); }
    std::vector<double> losses;
  };
  for (const MeshShape& mesh : {MeshShape{.data = 3}, MeshShape{.data = 2, .tensor = 2}, MeshShape{.pipeline = 2, .data = 2}}) {
    for (const auto sharding : {Sharding::kGradients, Sharding::kWeights}) {
      SCOPED_TRACE(fmt::format("{}, state {}", mesh.to_string(), static_cast<int>(sharding)));
      RunSpec run = small_run(mesh.data, 1);
      run.mesh = mesh;
      run.sharding = sharding;
      run.bucket_elements = 1;
      run.global_batch_sequences = 2 * mesh.data;
      run.model.tie_embeddings = ModelSpec::Tie::kYes;
      run.num_steps = 2;
      const Folder folder;
      const SyntheticDocuments documents(run, folder.path());
      run.data.sources = {{.files = {documents.folder()}}};
      run.data.format = DataFormat::kTokensU32;
      run.evaluation.data = run.data;
      run.evaluation.interval_steps = 1;
      run.evaluation.max_sequences = mesh.data;
      const auto losses = [&](bool poisoned) {
        std::vector<double> found;
        run_in_process(mesh.num_ranks(), [&](Communicator& world) {
          RankResources resources = {.num_threads = 1};
          if (poisoned) resources.memory = std::make_shared<PoisonedMemory>();
          Losses observer;
          train(run, world, resources, observer, [] { return false; });
          if (world.rank() == 0) found = observer.losses;
        });
        return found;
      };
      const std::vector<double> right = losses(false);
      EXPECT_EQ(right.size(), 4u);
      EXPECT_EQ(losses(true), right);
    }
  }
}

// A step over four blocks begins with messages that bring the weights of each, for the whole step or until the next block; where
// ranks have these for the whole step, the sums of gradients follow.
TEST(Planted, MessagesOfSharedStateAreMissed) {
  const std::vector<std::string> values = {"output of model.embed_tokens, ", "queries of model.layers.0, ",
                                           "queries of model.layers.1, ", "losses, "};
  for (const auto sharding : {Sharding::kGradients, Sharding::kWeights}) {
    RunSpec run = small_run(2, 1);
    run.sharding = sharding;
    run.bucket_elements = 1;
    const auto found = [&](int message) {
      return verified(run, DType::kFloat64, {.rank = 1, .faults = {.keep_own_of = message}, .kernels = nullptr}).difference;
    };
    for (int block = 0; block < 4; ++block) {
      const std::string gathered = found(block);
      EXPECT_EQ(gathered.find("rank 1 (data 1, context 0), " + values[static_cast<size_t>(block)]), 0u) << gathered;
      if (sharding == Sharding::kWeights) continue;
      const std::string summed = found(4 + block);
      EXPECT_NE(summed.find(" after the reduction, "), std::string::npos) << summed;
    }
  }
}

}  // namespace
}  // namespace longspan::test
