#include "tests/model/step_case.h"

#include <cmath>

#include "parallel/comm/backends.h"
#include "parallel/data/shared_state.h"
#include "parallel/pipeline/executor.h"
#include "tests/support/sequences.h"
#include "tests/support/tensors.h"
#include "train/adamw.h"
#include "train/batch.h"

namespace longspan::test {

namespace {

NamedValues all_of(const Context& context, ParameterSet& parameters, Tensor Parameter::* which) {
  NamedValues all;
  for (const auto& p : parameters.all()) all.emplace_back(p->name, values(context.to_host((*p).*which)));
  return all;
}

std::string difference(const NamedValues& got, const NamedValues& want, double tolerance) {
  if (got.size() != want.size()) return fmt::format("{} tensors, not {}\n", got.size(), want.size());
  std::string all;
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = relative_error(got[i].second, want[i].second);
    if (!(error < tolerance)) all += fmt::format("{}: an error of {} is not less than {}\n", want[i].first, error, tolerance);
  }
  return all;
}

}  // namespace

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

Step step_on_ring(Context& context, Communicator& ring, const ModelSpec& spec, LayoutType layout) {
  Decoder decoder(spec, ring, 16);
  decoder.parameters().materialize(context, ParameterSet::Purpose::kTraining);
  decoder.parameters().initialize(context, 7, spec.initializer_range);
  const ContextShare share = {.layout = layout, .num_ranks = ring.size(), .rank = ring.rank()};
  const Tensor sums = context.host().zeros({2}, DType::kFloat64);  // losses, predicted tokens
  auto* s = sums.data<double>();
  for (const uint64_t seed : {3, 4}) {
    decoder.microbatches().push_back(
        make_microbatch(context, spec, share, {random_sequence(seed, 41, 3, spec.vocabulary_size)}));
    s[1] += static_cast<double>(decoder.microbatches().back().num_predicted);
  }
  ring.all_reduce(context.host().stream(), sums, ReduceOp::kSum);
  for (Microbatch& batch : decoder.microbatches()) batch.gradient_scale = 1 / s[1];
  execute(context, single_stage_program(2, static_cast<int>(decoder.stage().size())), decoder.stage(),
          [&] { reduce_gradients(context, ring, decoder.parameters()); });
  for (const Microbatch& batch : decoder.microbatches()) s[0] += sum_of_losses(context, batch) * batch.gradient_scale;
  ring.all_reduce(context.host().stream(), sums, ReduceOp::kSum);
  return {.loss = s[0],
          .norm = gradient_norm(context, decoder.parameters(), ring, *make_self_communicator()),
          .gradients = all_of(context, decoder.parameters(), &Parameter::gradient),
          .weights = {}};
}

Step one_step(Context& context, const ModelSpec& spec, int num_steps) {
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
    step.norm = gradient_norm(context, decoder.parameters(), *alone, *alone);
    step.gradients = all_of(context, decoder.parameters(), &Parameter::gradient);
    optimizer.step(context, number, 1e-3, step.norm);
    step.weights = all_of(context, decoder.parameters(), &Parameter::master);
  }
  return step;
}

std::string difference(const Step& got, const Step& want, double tolerance) {
  std::string all = difference(got.gradients, want.gradients, tolerance);
  const auto expect_near = [&](const char* what, double g, double w) {
    if (!(std::abs(g - w) <= tolerance * w)) all += fmt::format("{}: {}, not {}\n", what, g, w);
  };
  expect_near("loss", got.loss, want.loss);
  expect_near("norm", got.norm, want.norm);
  return all;
}

std::string difference_of_weights(const Step& got, const Step& want, double tolerance) {
  return difference(got.weights, want.weights, tolerance);
}

}  // namespace longspan::test
