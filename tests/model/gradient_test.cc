// Gradients of the whole decoder in double precision: by random directions against central differences, and on every mesh
// of ranks against one rank.
#include <gtest/gtest.h>

#include <mutex>

#include "parallel/comm/backends.h"
#include "parallel/data/shared_state.h"
#include "parallel/pipeline/executor.h"
#include "tests/support/reference_context.h"
#include "tests/support/sequences.h"
#include "tests/support/tensors.h"
#include "train/batch.h"

namespace longspan {
namespace {

ModelSpec tiny_spec() {
  ModelSpec spec;
  spec.vocabulary_size = 11;
  spec.hidden_size = 8;
  spec.num_layers = 2;
  spec.num_heads = 4;
  spec.num_kv_heads = 2;
  spec.head_dim = 4;
  spec.mlp_size = 12;
  spec.initializer_range = 0.5;
  return spec;
}

ModelSpec qwen2_like() {
  ModelSpec spec = tiny_spec();
  spec.bias = ModelSpec::Bias::kQkv;
  spec.tie_embeddings = ModelSpec::Tie::kYes;
  spec.rope.scaling = RopeScalingType::kYarn;
  spec.rope.factor = 4;
  spec.rope.original_max_positions = 16;
  return spec;
}

ModelSpec qwen3_like() {
  ModelSpec spec = tiny_spec();
  spec.qk_norm = ModelSpec::QkNorm::kYes;
  spec.num_kv_heads = 1;
  return spec;
}

struct Share {
  ContextShare context;
  std::vector<std::vector<TokenSequence>> microbatches;
  double gradient_scale = 1;
};

// Loss (scaled sum) of this rank's share, gradients in the parameters.
double run(Context& context, Decoder& decoder, const Share& share, const std::function<void()>& reduce) {
  decoder.microbatches().clear();
  for (const auto& sequences : share.microbatches) {
    decoder.microbatches().push_back(make_microbatch(context, decoder.spec(), share.context, sequences));
    decoder.microbatches().back().gradient_scale = share.gradient_scale;
  }
  decoder.parameters().zero_gradients(context);
  const int num_blocks = static_cast<int>(decoder.stage().size());
  const int num_microbatches = static_cast<int>(share.microbatches.size());
  execute(context, single_stage_program(num_microbatches, num_blocks), decoder.stage(), reduce);
  double loss = 0;
  for (const Microbatch& batch : decoder.microbatches()) {
    for (const double x : test::values(batch.losses)) loss += x * share.gradient_scale;
  }
  return loss;
}

class DecoderTest : public testing::TestWithParam<int> {
 protected:
  ModelSpec spec() const { return GetParam() == 0 ? tiny_spec() : GetParam() == 1 ? qwen2_like() : qwen3_like(); }
};

TEST_P(DecoderTest, GradientMatchesCentralDifferences) {
  Context context = test::make_context(DType::kFloat64);
  const auto alone = make_self_communicator();
  Decoder decoder(spec(), *alone, 5);  // a loss tile that does not divide the tokens
  decoder.parameters().materialize(context, ParameterSet::Purpose::kTraining);
  decoder.parameters().initialize(context, 7, spec().initializer_range);
  const Share share = {.context = {}, .microbatches = {{test::random_sequence(3, 17, 3, 11)}}, .gradient_scale = 0.25};
  run(context, decoder, share, [] {});
  for (const auto& p : decoder.parameters().all()) {
    const auto gradient = test::values(p->gradient);
    const auto direction = test::values(test::random_tensor(context, p->shape, DType::kFloat64, 5, p->name));
    const double expected = test::dot(gradient, direction);
    const auto moved_loss = [&](double step) {
      Decoder moved(spec(), *alone, 5);
      moved.parameters().materialize(context, ParameterSet::Purpose::kTraining);
      moved.parameters().initialize(context, 7, spec().initializer_range);
      for (const auto& q : moved.parameters().all()) {
        if (q->name != p->name) continue;
        for (size_t i = 0; i < direction.size(); ++i) q->master.data<double>()[i] += step * direction[i];
      }
      return run(context, moved, share, [] {});
    };
    const double step = 1e-5, numeric = (moved_loss(step) - moved_loss(-step)) / (2 * step);
    EXPECT_NEAR(numeric, expected, 1e-7 * std::max(1.0, std::abs(expected))) << p->name;
  }
}

struct Outcome {
  double loss = 0;
  std::vector<std::vector<double>> gradients;
};

// The same four sequences on a data x context mesh, in microbatches.
Outcome on_mesh(const ModelSpec& spec, LayoutType layout, int data, int context_ranks, int micro_batch) {
  Outcome outcome;
  std::mutex mutex;
  run_in_process(data * context_ranks, [&](Communicator& world) {
    Context context = test::make_context(DType::kFloat64);
    const ProcessMesh mesh(world, {.pipeline = 1, .data = data, .context = context_ranks, .tensor = 1});
    Decoder decoder(spec, mesh.axis(Axis::kContext), 6);
    decoder.parameters().materialize(context, ParameterSet::Purpose::kTraining);
    decoder.parameters().initialize(context, 7, spec.initializer_range);
    Share share = {.context = {.layout = layout,
                               .num_ranks = context_ranks,
                               .rank = mesh.coordinate(Axis::kContext)},
                   .microbatches = {},
                   .gradient_scale = 1.0 / 80};
    const int rows = 4 / data;
    for (int row = 0; row < rows; row += micro_batch) {
      share.microbatches.emplace_back();
      for (int i = 0; i < micro_batch; ++i) {
        const int number = mesh.coordinate(Axis::kData) * rows + row + i;
        share.microbatches.back().push_back(test::random_sequence(static_cast<uint64_t>(20 + number), 23, 4, 11));
      }
    }
    const Tensor loss = context.zeros({1}, DType::kFloat64);
    *loss.data<double>() =
        run(context, decoder, share, [&] { reduce_gradients(context, mesh.replicas(), decoder.parameters()); });
    mesh.replicas().all_reduce(context.stream(), loss, ReduceOp::kSum);
    if (world.rank() != 0) return;
    const std::lock_guard lock(mutex);
    outcome.loss = *loss.data<double>();
    for (const auto& p : decoder.parameters().all()) outcome.gradients.push_back(test::values(p->gradient));
  });
  return outcome;
}

TEST_P(DecoderTest, EveryMeshEqualsOneRank) {
  const Outcome one = on_mesh(spec(), LayoutType::kContiguous, 1, 1, 4);
  struct Mesh {
    LayoutType layout;
    int data, context, micro_batch;
  };
  for (const Mesh& m : {Mesh{LayoutType::kZigzag, 1, 1, 1}, {LayoutType::kZigzag, 1, 2, 2}, {LayoutType::kZigzag, 1, 3, 4},
                        {LayoutType::kStriped, 2, 2, 1}, {LayoutType::kContiguous, 1, 4, 1},
                        {LayoutType::kZigzag, 2, 4, 2}, {LayoutType::kStriped, 1, 5, 2}, {LayoutType::kZigzag, 4, 2, 1}}) {
    SCOPED_TRACE(fmt::format("{} data {} context {} micro {}", name(m.layout), m.data, m.context, m.micro_batch));
    const Outcome many = on_mesh(spec(), m.layout, m.data, m.context, m.micro_batch);
    EXPECT_NEAR(many.loss, one.loss, 1e-12 * one.loss);
    for (size_t i = 0; i < one.gradients.size(); ++i) {
      EXPECT_LT(test::relative_error(many.gradients[i], one.gradients[i]), 1e-12) << "parameter " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, DecoderTest, testing::Values(0, 1, 2), [](const auto& i) {
  return std::string(i.param == 0 ? "Llama" : i.param == 1 ? "Qwen2" : "Qwen3");
});

}  // namespace
}  // namespace longspan
