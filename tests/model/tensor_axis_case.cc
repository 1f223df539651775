#include "tests/model/tensor_axis_case.h"

#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "attention/ring_attention.h"
#include "parallel/comm/backends.h"
#include "parallel/pipeline/executor.h"
#include "parallel/tensor/shared_gradients.h"
#include "tests/support/sequences.h"
#include "tests/support/tensors.h"
#include "train/batch.h"

namespace longspan::test {

namespace {

// Biases are drawn as zeros; so they would hide what is done with them.
void draw_biases(const Context& context, const Parameter& p) {
  if (!p.name.ends_with(".bias")) return;
  const RandomStream random(4, p.name);
  context.write_from_host(p.master, [&](const Tensor& t) {
    for (int64_t i = 0; i < p.shape[0]; ++i) {
      const double x = random.normal(static_cast<uint64_t>(p.box.begin[0] + i));
      if (t.dtype() == DType::kFloat64) t.data<double>()[i] = x;
      if (t.dtype() == DType::kFloat32) t.data<float>()[i] = static_cast<float>(x);
    }
  });
}

class Run {
 public:
  Run(Communicator& world, Context context, const ModelSpec& spec, const TensorMesh& mesh, Plant plant)
      : context_(std::move(context)),
        world_(world),
        ring_(world.split(world.rank() % mesh.tensor, world.rank(), "ring")),
        tensor_(world.split(world.rank() / mesh.tensor, world.rank(), "tensor")),
        attention_(*ring_, score_scale(spec)),
        plant_(plant),
        decoder_(spec, {.attention = attention_, .tensor = *tensor_}, mesh.loss_tile) {
    decoder_.parameters().materialize(context_, ParameterSet::Purpose::kTraining);
    decoder_.parameters().initialize(context_, 7, spec.initializer_range);
    for (const auto& p : decoder_.parameters().all()) draw_biases(context_, *p);
    decoder_.parameters().refresh_values(context_);
    const ContextShare share = {.layout = mesh.layout, .num_ranks = mesh.context, .rank = ring_->rank()};
    for (uint64_t i = 0; i < 2; ++i) {
      // Of documents of a token or two, q and k would have no gradient but rounding.
      const int64_t num_documents = mesh.length < 20 ? 1 : 3;
      const std::vector<TokenSequence> sequences = {random_sequence(20 + i, mesh.length, num_documents, spec.vocabulary_size)};
      decoder_.microbatches().push_back(make_microbatch(context_, spec, share, sequences));
      decoder_.microbatches().back().gradient_scale = 1.0 / 40;
    }
  }

  // The ranks of the first ring place hold the whole between them.
  void into(TensorOutcome& outcome, std::mutex& mutex) {
    double evaluated = 0, loss = 0;
    const PipelineShape alone = {.placement = single_rank_placement(static_cast<int>(decoder_.stage().size())),
                                 .num_microbatches = 2};
    execute(context_, make_forward_program(alone).ranks.front(), decoder_.stage(), [] {});
    for (const Microbatch& batch : decoder_.microbatches()) evaluated += sum(batch.losses);
    SharedGradients shared(*tensor_, decoder_.parameters());
    execute(context_, single_stage_program(2, static_cast<int>(decoder_.stage().size())), decoder_.stage(), [&] {
      if (plant_ != Plant::kNoSumOverTheAxis) shared.reduce(context_);
      ring_->all_reduce(context_.stream(), decoder_.parameters().gradients(), ReduceOp::kSum);
    });
    for (const Microbatch& batch : decoder_.microbatches()) loss += sum(batch.losses);
    const bool first = ring_->rank() == 0;
    // Losses are the same on every rank of a tensor axis; squares are each rank's own.
    const Tensor sums = context_.host().zeros({3}, DType::kFloat64);
    sums.data<double>()[0] = tensor_->rank() == 0 ? loss : 0;
    sums.data<double>()[1] = tensor_->rank() == 0 ? evaluated : 0;
    sums.data<double>()[2] = first ? squares() : 0;
    world_.all_reduce(context_.host().stream(), sums, ReduceOp::kSum);
    const std::lock_guard lock(mutex);
    outcome.loss = sums.data<double>()[0];
    outcome.evaluated = sums.data<double>()[1];
    outcome.squares = sums.data<double>()[2];
    if (first) collect(outcome);
  }

 private:
  std::vector<double> on_host(const Tensor& t) const { return values(context_.to_host(t)); }

  double sum(const Tensor& losses) const {
    double total = 0;
    for (const double x : on_host(losses)) total += x;
    return total;
  }

  double squares() {
    const std::vector<double> flat = on_host(decoder_.parameters().gradients());
    double total = 0;
    const auto add = [&](const TensorPiece& range) {
      for (int64_t i = range.begin; i < range.end; ++i) total += flat[static_cast<size_t>(i)] * flat[static_cast<size_t>(i)];
    };
    if (plant_ == Plant::kEverythingCounted) {
      add({0, static_cast<int64_t>(flat.size())});
    } else {
      for (const TensorPiece& range : counted_ranges(decoder_.parameters())) add(range);
    }
    return total;
  }

  void collect(TensorOutcome& outcome) {
    for (const auto& p : decoder_.parameters().all()) {
      auto& whole = outcome.gradients.try_emplace(p->name, static_cast<size_t>(p->box.whole.num_elements()), NAN).first->second;
      const std::vector<double> mine = on_host(p->gradient);
      for_each_run(p->box, [&](int64_t in_box, int64_t in_whole, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
          double& have = whole[static_cast<size_t>(in_whole + i)];
          const double got = mine[static_cast<size_t>(in_box + i)];
          if (plant_ == Plant::kNothing && !std::isnan(have)) {
            EXPECT_EQ(have, got) << p->name << " is another on rank " << world_.rank();
          }
          have = got;
        }
      });
    }
  }

  Context context_;
  Communicator& world_;
  std::unique_ptr<Communicator> ring_, tensor_;
  RingAttention attention_;
  Plant plant_;
  Decoder decoder_;
};

}  // namespace

TensorOutcome step_on_mesh(const ModelSpec& spec, const TensorMesh& mesh, const std::function<Context()>& make, Plant plant) {
  TensorOutcome outcome;
  std::mutex mutex;
  run_in_process(mesh.context * mesh.tensor, [&](Communicator& threads) {
    const auto world = make_staging_communicator(threads);  // for devices; tensors of the host go as they are
    Run(*world, make(), spec, mesh, plant).into(outcome, mutex);
  });
  return outcome;
}

void expect_equal(const TensorOutcome& got, const TensorOutcome& want, double tolerance) {
  EXPECT_NEAR(got.loss, want.loss, tolerance * want.loss);
  EXPECT_NEAR(got.evaluated, want.loss, tolerance * want.loss);
  EXPECT_NEAR(got.squares, want.squares, tolerance * want.squares);
  ASSERT_EQ(got.gradients.size(), want.gradients.size());
  for (const auto& [name, gradient] : want.gradients) {
    EXPECT_LT(relative_error(got.gradients.at(name), gradient), tolerance) << name;
  }
}

double largest_error(const TensorOutcome& got, const TensorOutcome& want) {
  double most = 0;
  for (const auto& [name, gradient] : want.gradients) most = std::max(most, relative_error(got.gradients.at(name), gradient));
  return most;
}

}  // namespace longspan::test
