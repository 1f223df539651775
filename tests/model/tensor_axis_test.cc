// The decoder on a tensor axis against one rank, in double precision: loss and every gradient, for every family's shape, with
// tokens, heads, inner columns and entries that do not divide; and that what is planted wrong is seen.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>

#include "parallel/comm/backends.h"
#include "parallel/pipeline/executor.h"
#include "parallel/tensor/shared_gradients.h"
#include "tests/core/expect_error.h"
#include "tests/support/reference_context.h"
#include "tests/support/sequences.h"
#include "tests/support/tensors.h"
#include "train/batch.h"

namespace longspan {
namespace {

struct Family {
  const char* name;
  ModelSpec spec;
};

ModelSpec spec_of(int64_t num_heads, int64_t num_kv_heads) {
  ModelSpec spec;
  spec.vocabulary_size = 11;
  spec.hidden_size = 6;
  spec.num_layers = 2;
  spec.num_heads = num_heads;
  spec.num_kv_heads = num_kv_heads;
  spec.head_dim = 2;
  spec.mlp_size = 13;
  spec.initializer_range = 0.5;
  return spec;
}

// Heads in one group, in groups of uneven parts, of their own, and more ranks than key heads.
std::vector<Family> families() {
  Family llama = {"llama", spec_of(8, 4)}, uneven = {"uneven groups", spec_of(9, 3)}, qwen2 = {"qwen2", spec_of(10, 5)},
         qwen3 = {"qwen3", spec_of(8, 1)}, all = {"all of it", spec_of(9, 3)}, own = {"heads of their own", spec_of(9, 9)};
  for (Family* f : {&qwen2, &all}) {
    f->spec.bias = ModelSpec::Bias::kQkv;
    f->spec.tie_embeddings = ModelSpec::Tie::kYes;
    f->spec.rope.scaling = RopeScalingType::kYarn;
    f->spec.rope.factor = 4;
    f->spec.rope.original_max_positions = 16;
  }
  for (Family* f : {&qwen3, &all}) f->spec.qk_norm = ModelSpec::QkNorm::kYes;
  return {llama, uneven, qwen2, qwen3, all, own};
}

struct Mesh {
  int context, tensor;
  LayoutType layout = LayoutType::kZigzag;
  int64_t length = 23, loss_tile = 6;
};

enum class Plant { kNothing, kNoSumOverTheAxis, kEverythingCounted };

struct Outcome {
  double loss = 0, evaluated = 0, squares = 0;
  std::map<std::string, std::vector<double>> gradients;  // whole
};

// Biases are drawn as zeros; so they would hide what is done with them.
void draw_biases(const Parameter& p) {
  if (!p.name.ends_with(".bias")) return;
  const RandomStream random(4, p.name);
  for (int64_t i = 0; i < p.shape[0]; ++i) p.master.data<double>()[i] = random.normal(static_cast<uint64_t>(p.box.begin[0] + i));
}

double sum(const Tensor& losses) {
  double total = 0;
  for (const double x : test::values(losses)) total += x;
  return total;
}

class Run {
 public:
  Run(Communicator& world, const ModelSpec& spec, const Mesh& mesh, Plant plant)
      : world_(world),
        ring_(world.split(world.rank() % mesh.tensor, world.rank(), "ring")),
        tensor_(world.split(world.rank() / mesh.tensor, world.rank(), "tensor")),
        plant_(plant),
        decoder_(spec, {.ring = *ring_, .tensor = *tensor_}, mesh.loss_tile) {
    decoder_.parameters().materialize(context_, ParameterSet::Purpose::kTraining);
    decoder_.parameters().initialize(context_, 7, spec.initializer_range);
    for (const auto& p : decoder_.parameters().all()) draw_biases(*p);
    const ContextShare share = {.layout = mesh.layout, .num_ranks = mesh.context, .rank = ring_->rank()};
    for (uint64_t i = 0; i < 2; ++i) {
      // Of documents of a token or two, q and k would have no gradient but rounding.
      const int64_t num_documents = mesh.length < 20 ? 1 : 3;
      const std::vector<TokenSequence> sequences = {test::random_sequence(20 + i, mesh.length, num_documents, spec.vocabulary_size)};
      decoder_.microbatches().push_back(make_microbatch(context_, spec, share, sequences));
      decoder_.microbatches().back().gradient_scale = 1.0 / 40;
    }
  }

  // Of the first rank; the others' are empty but for their part in the sums.
  void into(Outcome& outcome, std::mutex& mutex) {
    double evaluated = 0, loss = 0;
    for (const Microbatch& batch : decoder_.microbatches()) evaluated += sum(decoder_.losses(context_, batch));
    SharedGradients shared(*tensor_, decoder_.parameters());
    execute(context_, single_stage_program(2, static_cast<int>(decoder_.stage().size())), decoder_.stage(), [&] {
      if (plant_ != Plant::kNoSumOverTheAxis) shared.reduce(context_);
      ring_->all_reduce(context_.stream(), decoder_.parameters().gradients(), ReduceOp::kSum);
    });
    for (const Microbatch& batch : decoder_.microbatches()) loss += sum(batch.losses);
    const bool first = ring_->rank() == 0;
    // Losses are the same on every rank of a tensor axis; squares are each rank's own.
    const Tensor sums = context_.zeros({3}, DType::kFloat64);
    sums.data<double>()[0] = tensor_->rank() == 0 ? loss : 0;
    sums.data<double>()[1] = tensor_->rank() == 0 ? evaluated : 0;
    sums.data<double>()[2] = first ? squares() : 0;
    world_.all_reduce(context_.stream(), sums, ReduceOp::kSum);
    const std::lock_guard lock(mutex);
    outcome.loss = sums.data<double>()[0];
    outcome.evaluated = sums.data<double>()[1];
    outcome.squares = sums.data<double>()[2];
    if (first) collect(outcome);
  }

 private:
  double squares() {
    const Tensor flat = decoder_.parameters().gradients();
    double total = 0;
    const auto add = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) total += flat.data<double>()[i] * flat.data<double>()[i];
    };
    if (plant_ == Plant::kEverythingCounted) {
      add(0, flat.num_elements());
    } else {
      for (const Piece& range : counted_ranges(decoder_.parameters())) add(range.begin, range.end);
    }
    return total;
  }

  // Parts of the whole; where several ranks hold the same, they must agree to the bit.
  void collect(Outcome& outcome) {
    for (const auto& p : decoder_.parameters().all()) {
      auto& whole = outcome.gradients.try_emplace(p->name, static_cast<size_t>(p->box.whole.num_elements()), NAN).first->second;
      for_each_run(p->box, [&](int64_t in_box, int64_t in_whole, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
          double& have = whole[static_cast<size_t>(in_whole + i)];
          const double got = p->gradient.data<double>()[in_box + i];
          if (plant_ == Plant::kNothing && !std::isnan(have)) {
            EXPECT_EQ(have, got) << p->name << " is another on rank " << world_.rank();
          }
          have = got;
        }
      });
    }
  }

  Context context_ = test::make_context(DType::kFloat64);
  Communicator& world_;
  std::unique_ptr<Communicator> ring_, tensor_;
  Plant plant_;
  Decoder decoder_;
};

Outcome on_mesh(const ModelSpec& spec, const Mesh& mesh, Plant plant = Plant::kNothing) {
  Outcome outcome;
  std::mutex mutex;
  run_in_process(mesh.context * mesh.tensor, [&](Communicator& world) { Run(world, spec, mesh, plant).into(outcome, mutex); });
  return outcome;
}

double largest_error(const Outcome& got, const Outcome& want) {
  double most = 0;
  for (const auto& [name, gradient] : want.gradients) most = std::max(most, test::relative_error(got.gradients.at(name), gradient));
  return most;
}

void expect_equal(const Outcome& got, const Outcome& want) {
  EXPECT_NEAR(got.loss, want.loss, 1e-11 * want.loss);
  EXPECT_NEAR(got.evaluated, want.loss, 1e-11 * want.loss);
  EXPECT_NEAR(got.squares, want.squares, 1e-11 * want.squares);
  ASSERT_EQ(got.gradients.size(), want.gradients.size());
  for (const auto& [name, gradient] : want.gradients) {
    EXPECT_LT(test::relative_error(got.gradients.at(name), gradient), 1e-11) << name;
  }
}

class TensorAxis : public testing::TestWithParam<size_t> {
 protected:
  ModelSpec spec() const { return families().at(GetParam()).spec; }
};

TEST_P(TensorAxis, EqualsOneRank) {
  const Outcome one = on_mesh(spec(), {.context = 1, .tensor = 1});
  for (int tensor = 2; tensor <= 8; ++tensor) {
    for (const int context : {1, 2}) {
      SCOPED_TRACE(fmt::format("context {} tensor {}", context, tensor));
      expect_equal(on_mesh(spec(), {.context = context, .tensor = tensor}), one);
      if (HasFailure()) return;
    }
  }
}

// Fewer tokens than ranks, so that pieces are empty; layouts; tiles of one token and of all.
TEST_P(TensorAxis, EqualsOneRankWhateverTheLength) {
  for (const auto& [length, tile] : {std::pair<int64_t, int64_t>{1, 6}, {5, 1}, {37, 1000}}) {
    const Outcome one = on_mesh(spec(), {.context = 1, .tensor = 1, .length = length, .loss_tile = tile});
    for (const auto layout : {LayoutType::kContiguous, LayoutType::kStriped}) {
      for (const int tensor : {3, 8}) {
        SCOPED_TRACE(fmt::format("{} tokens, tiles of {}, {}, tensor {}", length, tile, name(layout), tensor));
        const Mesh mesh = {.context = 2, .tensor = tensor, .layout = layout, .length = length, .loss_tile = tile};
        if (length == 1) {
          const Outcome many = on_mesh(spec(), mesh);
          EXPECT_EQ(many.loss, 0);  // nothing is predicted
          EXPECT_EQ(many.squares, 0);
        } else {
          expect_equal(on_mesh(spec(), mesh), one);
        }
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(TensorAxis, PlantedFaultsAreSeen) {
  const Outcome one = on_mesh(spec(), {.context = 1, .tensor = 1});
  const Mesh mesh = {.context = 1, .tensor = 4};
  EXPECT_GT(largest_error(on_mesh(spec(), mesh, Plant::kNoSumOverTheAxis), one), 1e-3);
  EXPECT_GT(std::abs(on_mesh(spec(), mesh, Plant::kEverythingCounted).squares / one.squares - 1), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Families, TensorAxis, testing::Range<size_t>(0, 6), [](const auto& i) {
  std::string name = families().at(i.param).name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

TEST(TensorAxisDegree, IsRefusedWithTheNearestThatWorks) {
  ModelSpec spec = spec_of(4, 2);
  EXPECT_EQ(max_tensor_degree(spec), 4);
  spec.mlp_size = 3;
  EXPECT_EQ(max_tensor_degree(spec), 3);
  test::expect_error(ErrorKind::kConfiguration, {"mesh.tensor is 5", "the nearest that works is 4"}, [&] {
    run_in_process(5, [&](Communicator& tensor) {
      const auto alone = make_self_communicator();
      const Decoder decoder(spec_of(4, 2), {.ring = *alone, .tensor = tensor}, 6);
    });
  });
}

}  // namespace
}  // namespace longspan
