// Runs in which one small thing goes wrong on one rank: a row that gets lost, a number that is none, weights that are not gathered. Each
// is noticed, by the run itself where it can be, else by the comparison with one rank, and named.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/train/faulty_kernels.h"
#include "tests/train/verified_run.h"

namespace longspan::test {
namespace {

using Sharding = RunSpec::Sharding;

TEST(Planted, ADroppedRowIsNamed) {
  const auto expect = [](const RunSpec& run, int rank, Kernels kernels, const std::string& begin) {
    const VerifyReport report = verified(run, DType::kFloat64, {.rank = rank, .faults = {}, .kernels = std::move(kernels)});
    EXPECT_EQ(report.difference.substr(0, begin.size()), begin) << report.difference;
  };
  RunSpec run = small_run(1, 3);
  expect(run, 1, with_fault<BlockAttention, DropsARow>(5), "rank 1, gradient of the output of model.layers.0, microbatch 0, token ");
  expect(run, 1, with_fault<Loss, DropsARowOfLogits>(5), "rank 1, gradient of lm_head.weight by microbatch 0, ");
  run.mesh = {.data = 2, .context = 2, .tensor = 2};
  run.global_batch_sequences = 2;
  expect(run, 6, with_fault<BlockAttention, DropsARow>(5), "rank 6");
  expect(run, 6, with_fault<Loss, DropsARowOfLogits>(5), "rank 6");
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

}  // namespace
}  // namespace longspan::test
