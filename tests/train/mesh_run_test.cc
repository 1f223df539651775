// What whole runs on meshes promise to the last bit: the losses of ranks that compute the same, and runs that go on with another
// part of their state shared.
#include <gtest/gtest.h>

#include "model/decoder.h"
#include "tests/train/history.h"
#include "train/checkpoint.h"

namespace longspan::test {
namespace {

using namespace history;
using Sharding = RunSpec::Sharding;

constexpr Sharding kStates[] = {Sharding::kNone, Sharding::kOptimizer, Sharding::kGradients, Sharding::kWeights};

// One microbatch on each replica, and nothing clipped: with two replicas a sum then has one order, whatever is shared.
RunSpec bit_run(const Folder& folder, const std::string& output, const MeshShape& mesh) {
  RunSpec spec = small_run(folder, output);
  spec.mesh = mesh;
  spec.model.num_layers = 3;
  spec.data.sequence_length = 41;
  spec.global_batch_sequences = mesh.data;
  spec.optimizer.gradient_clip = 0;
  spec.bucket_elements = 3000;
  spec.num_steps = 4;
  return spec;
}

// Those of every token, in each step.
TEST(MeshRun, LossesOfTheTensorAxisAreTheSameToTheLastBit) {
  struct Losses final : TrainObserver {
    void on_model(Decoder& decoder) override { decoder_ = &decoder; }
    void on_gradients(const Context&, int64_t, const ParameterSet&) override {
      if (!decoder_->has_head()) return;
      for (const Microbatch& batch : decoder_->microbatches()) {
        const float* losses = batch.losses.data<float>();
        of_tokens.insert(of_tokens.end(), losses, losses + batch.losses.num_elements());
      }
    }
    void on_step(const StepReport& report) override { of_steps.push_back(report.loss); }
    std::vector<float> of_tokens;
    std::vector<double> of_steps;

   private:
    Decoder* decoder_ = nullptr;
  };
  const Folder folder;
  for (const MeshShape& mesh :
       {MeshShape{.tensor = 3}, MeshShape{.context = 2, .tensor = 4}, MeshShape{.pipeline = 2, .data = 2, .tensor = 2}}) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      SCOPED_TRACE(fmt::format("{}, {}", mesh.to_string(), name(dtype)));
      RunSpec spec = bit_run(folder, "", mesh);
      spec.output_directory = "";
      spec.compute_dtype = dtype;
      std::vector<Losses> ranks(static_cast<size_t>(mesh.num_ranks()));
      run_in_process(mesh.num_ranks(), [&](Communicator& world) {
        train(spec, world, {}, ranks[static_cast<size_t>(world.rank())], [] { return false; });
      });
      const auto tensor = static_cast<size_t>(mesh.tensor);
      EXPECT_FALSE(ranks.back().of_tokens.empty());
      for (size_t rank = 0; rank < ranks.size(); ++rank) {
        EXPECT_EQ(ranks[rank].of_steps, ranks[0].of_steps) << rank;
        EXPECT_EQ(ranks[rank].of_tokens, ranks[rank / tensor * tensor].of_tokens) << rank;
      }
    }
  }
}

struct Ended {
  std::vector<double> losses;
  std::vector<float> weights;
};

Ended ended(const RunSpec& spec, size_t stop_after = 0) {
  Ended result;
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    Collect collect;
    train(spec, world, {}, collect, [&] { return stop_after > 0 && collect.losses.size() + 1 >= stop_after; });
    if (world.rank() == 0) result.losses = collect.losses;
  });
  const auto alone = make_self_communicator();
  Context context(Context::Options{});
  Decoder whole(spec.model, *alone, spec.loss_tile_tokens);
  std::vector<NamedTensor> tensors;
  for (const auto& p : whole.parameters().all()) {
    tensors.push_back({p->name, context.empty(p->shape, DType::kFloat32, MemoryTag::kWorkspace)});
  }
  load_checkpoint(list_checkpoints(spec.output_directory).front().path, tensors, to_string(spec.model));
  for (const NamedTensor& t : tensors) {
    result.weights.insert(result.weights.end(), t.tensor.data<float>(), t.tensor.data<float>() + t.tensor.num_elements());
  }
  return result;
}

TEST(MeshRun, APipelineGoesOnFromEveryStateInEveryOther) {
  const Folder folder;
  for (const auto tie : {ModelSpec::Tie::kNo, ModelSpec::Tie::kYes}) {
    const auto with = [&](const std::string& output, Sharding state) {
      RunSpec spec = bit_run(folder, fmt::format("{}_{}", output, static_cast<int>(tie)), {.pipeline = 2, .data = 2});
      spec.model.tie_embeddings = tie;
      spec.sharding = state;
      return spec;
    };
    const Ended whole = ended(with("whole", Sharding::kNone));
    ASSERT_EQ(whole.losses.size(), 4u);
    for (const Sharding first : kStates) {
      for (const Sharding second : kStates) {
        const std::string output = fmt::format("from_{}_to_{}", static_cast<int>(first), static_cast<int>(second));
        SCOPED_TRACE(output);
        std::vector<double> losses = ended(with(output, first), 2).losses;
        const Ended rest = ended(with(output, second));
        ASSERT_EQ(rest.losses.size(), 2u);
        losses.insert(losses.end(), rest.losses.begin(), rest.losses.end());
        EXPECT_EQ(losses, whole.losses);
        EXPECT_EQ(rest.weights, whole.weights);
      }
    }
  }
}

}  // namespace
}  // namespace longspan::test
