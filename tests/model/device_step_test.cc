// A whole training step with every tensor in memory that the host cannot touch: the cuda backend on an emulated device, held
// to the double-precision reference. Weights, tokens, rotary angles, losses, norms and checkpoints go by copies alone.
#include <gtest/gtest.h>

#include <cmath>

#include "parallel/comm/backends.h"
#include "parallel/data/shared_state.h"
#include "parallel/pipeline/executor.h"
#include "tests/support/emulated_device.h"
#include "tests/support/reference_context.h"
#include "tests/support/sequences.h"
#include "tests/support/tensors.h"
#include "train/adamw.h"
#include "train/batch.h"

namespace longspan::test {
namespace {

ModelSpec small_spec(int64_t head_dim) {
  ModelSpec spec;
  spec.vocabulary_size = 29;
  spec.hidden_size = 24;
  spec.num_layers = 2;
  spec.num_heads = 4;
  spec.num_kv_heads = 2;
  spec.head_dim = head_dim;
  spec.mlp_size = 40;
  spec.initializer_range = 0.2;
  return spec;
}

struct Step {
  double loss = 0, norm = 0;
  std::vector<std::pair<std::string, std::vector<double>>> gradients, weights;
};

std::vector<std::pair<std::string, std::vector<double>>> all_of(const Context& context, ParameterSet& parameters,
                                                                Tensor Parameter::* which) {
  std::vector<std::pair<std::string, std::vector<double>>> all;
  for (const auto& p : parameters.all()) all.emplace_back(p->name, values(context.to_host((*p).*which)));
  return all;
}

// The same two sequences on a ring of two devices.
Step on_ring(const ModelSpec& spec, LayoutType layout, DType dtype) {
  Step step;
  run_in_process(2, [&](Communicator& threads) {
    const auto ring = make_staging_communicator(threads);
    Context context = emulated_device_context(dtype);
    Decoder decoder(spec, *ring, 16);
    decoder.parameters().materialize(context, ParameterSet::Purpose::kTraining);
    decoder.parameters().initialize(context, 7, spec.initializer_range);
    const ContextShare share = {.layout = layout, .num_ranks = 2, .rank = ring->rank()};
    const Tensor sums = context.host().zeros({2}, DType::kFloat64);  // losses, predicted tokens
    auto* s = sums.data<double>();
    for (const uint64_t seed : {3, 4}) {
      decoder.microbatches().push_back(
          make_microbatch(context, spec, share, {random_sequence(seed, 41, 3, spec.vocabulary_size)}));
      s[1] += static_cast<double>(decoder.microbatches().back().num_predicted);
    }
    ring->all_reduce(context.host().stream(), sums, ReduceOp::kSum);
    for (Microbatch& batch : decoder.microbatches()) batch.gradient_scale = 1 / s[1];
    GradientReducer reducer(*ring, decoder.parameters());
    execute(context, single_stage_program(2, static_cast<int>(decoder.stage().size())), decoder.stage(),
            [&] { reducer.reduce(context); });
    for (const Microbatch& batch : decoder.microbatches()) s[0] += sum_of_losses(context, batch) * batch.gradient_scale;
    ring->all_reduce(context.host().stream(), sums, ReduceOp::kSum);
    if (ring->rank() != 0) return;
    step.loss = s[0];
    step.norm = gradient_norm(context, decoder.parameters());
    step.gradients = all_of(context, decoder.parameters(), &Parameter::gradient);
  });
  return step;
}

Step one_step(Context& context, const ModelSpec& spec, int num_steps = 1) {
  const auto alone = make_self_communicator();
  Decoder decoder(spec, *alone, 16);  // a loss tile that does not divide the tokens
  decoder.parameters().materialize(context, ParameterSet::Purpose::kTraining);
  decoder.parameters().initialize(context, 7, spec.initializer_range);
  AdamW optimizer(context, decoder.parameters(), {});
  Step step;
  for (int number = 1; number <= num_steps; ++number) {
    decoder.microbatches().clear();
    int64_t num_predicted = 0;
    for (const uint64_t seed : {3, 4}) {
      decoder.microbatches().push_back(
          make_microbatch(context, spec, {}, {random_sequence(seed, 41, 3, spec.vocabulary_size)}));
      num_predicted += decoder.microbatches().back().num_predicted;
    }
    for (Microbatch& batch : decoder.microbatches()) batch.gradient_scale = 1 / static_cast<double>(num_predicted);
    decoder.parameters().zero_gradients(context);
    const int num_blocks = static_cast<int>(decoder.stage().size());
    execute(context, single_stage_program(2, num_blocks), decoder.stage(), [] {});
    step.loss = 0;
    for (const Microbatch& batch : decoder.microbatches()) {
      step.loss += sum_of_losses(context, batch) * batch.gradient_scale;
    }
    step.norm = gradient_norm(context, decoder.parameters());
    step.gradients = all_of(context, decoder.parameters(), &Parameter::gradient);
    optimizer.step(context, number, 1e-3, step.norm);
    step.weights = all_of(context, decoder.parameters(), &Parameter::master);
  }
  return step;
}

void expect_same(const Step& got, const Step& want, double tolerance) {
  EXPECT_NEAR(got.loss, want.loss, tolerance * want.loss);
  EXPECT_NEAR(got.norm, want.norm, tolerance * want.norm);
  ASSERT_EQ(got.gradients.size(), want.gradients.size());
  for (size_t i = 0; i < want.gradients.size(); ++i) {
    EXPECT_LT(relative_error(got.gradients[i].second, want.gradients[i].second), tolerance) << want.gradients[i].first;
  }
}

// A step moves each weight by about the learning rate, and in bfloat16 a gradient near zero may point the other way.
void expect_same_weights(const Step& got, const Step& want, double tolerance) {
  for (size_t i = 0; i < want.weights.size(); ++i) {
    EXPECT_LT(relative_error(got.weights[i].second, want.weights[i].second), tolerance) << want.weights[i].first;
  }
}

class DeviceStep : public testing::TestWithParam<int> {
 protected:
  ModelSpec spec() const {
    ModelSpec spec = small_spec(6);
    if (GetParam() == 1) {  // as Qwen2
      spec.bias = ModelSpec::Bias::kQkv;
      spec.tie_embeddings = ModelSpec::Tie::kYes;
    }
    if (GetParam() == 2) spec.qk_norm = ModelSpec::QkNorm::kYes;  // as Qwen3
    return spec;
  }
};

TEST_P(DeviceStep, InFloat32EqualsTheReference) {
  Context device = emulated_device_context(DType::kFloat32), reference = make_context(DType::kFloat64);
  const Step got = one_step(device, spec(), 2), want = one_step(reference, spec(), 2);
  expect_same(got, want, 1e-5);
  expect_same_weights(got, want, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Families, DeviceStep, testing::Values(0, 1, 2), [](const auto& i) {
  return std::string(i.param == 0 ? "Llama" : i.param == 1 ? "Qwen2" : "Qwen3");
});

TEST(DeviceRing, OfTwoEqualsOneRankOfTheReference) {
  Context reference = make_context(DType::kFloat64);
  const Step want = one_step(reference, small_spec(6));
  for (const LayoutType layout : {LayoutType::kZigzag, LayoutType::kStriped}) {
    SCOPED_TRACE(name(layout));
    expect_same(on_ring(small_spec(6), layout, DType::kFloat32), want, 1e-5);
  }
}

TEST(DeviceStepInBFloat16, ByMatrixInstructionsIsNearTheReference) {
  Context device = emulated_device_context(DType::kBFloat16), reference = make_context(DType::kFloat64);
  const ModelSpec spec = small_spec(64);
  const Step got = one_step(device, spec), want = one_step(reference, spec);
  expect_same(got, want, 0.03);
  expect_same_weights(got, want, 0.01);
}

}  // namespace
}  // namespace longspan::test
