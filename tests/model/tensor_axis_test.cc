// The decoder on a tensor axis against one rank: loss and every gradient, for every family's shape, with tokens, heads, inner
// columns and entries that do not divide; and that what is planted wrong is seen.
#include <gtest/gtest.h>

#include <cmath>

#include "attention/ring_attention.h"
#include "model/decoder.h"
#include "parallel/comm/backends.h"
#include "tests/core/expect_error.h"
#include "tests/model/tensor_axis_case.h"
#include "tests/support/reference_context.h"
#include "train/formats/huggingface.h"

namespace longspan::test {
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

TensorOutcome in_double(const ModelSpec& spec, const TensorMesh& mesh, Plant plant = Plant::kNothing) {
  return step_on_mesh(spec, mesh, [] { return make_context(DType::kFloat64); }, plant);
}

class TensorAxis : public testing::TestWithParam<size_t> {
 protected:
  ModelSpec spec() const { return families().at(GetParam()).spec; }
};

TEST_P(TensorAxis, EqualsOneRank) {
  const TensorOutcome one = in_double(spec(), {.context = 1, .tensor = 1});
  for (int tensor = 2; tensor <= 8; ++tensor) {
    for (const int context : {1, 2}) {
      SCOPED_TRACE(fmt::format("context {} tensor {}", context, tensor));
      expect_equal(in_double(spec(), {.context = context, .tensor = tensor}), one, 1e-11);
      if (HasFailure()) return;
    }
  }
}

// Fewer tokens than ranks, so that pieces are empty; layouts; tiles of one token and of all.
TEST_P(TensorAxis, EqualsOneRankWhateverTheLength) {
  for (const auto& [length, tile] : {std::pair<int64_t, int64_t>{1, 6}, {5, 1}, {37, 1000}}) {
    const TensorOutcome one = in_double(spec(), {.context = 1, .tensor = 1, .length = length, .loss_tile = tile});
    for (const auto layout : {LayoutType::kContiguous, LayoutType::kStriped}) {
      for (const int tensor : {3, 8}) {
        SCOPED_TRACE(fmt::format("{} tokens, tiles of {}, {}, tensor {}", length, tile, name(layout), tensor));
        const TensorMesh mesh = {.context = 2, .tensor = tensor, .layout = layout, .length = length, .loss_tile = tile};
        if (length == 1) {
          const TensorOutcome many = in_double(spec(), mesh);
          EXPECT_EQ(many.loss, 0);  // nothing is predicted
          EXPECT_EQ(many.squares, 0);
        } else {
          expect_equal(in_double(spec(), mesh), one, 1e-11);
        }
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(TensorAxis, PlantedFaultsAreSeen) {
  const TensorOutcome one = in_double(spec(), {.context = 1, .tensor = 1});
  const TensorMesh mesh = {.context = 1, .tensor = 4};
  EXPECT_GT(largest_error(in_double(spec(), mesh, Plant::kNoSumOverTheAxis), one), 1e-3);
  EXPECT_GT(std::abs(in_double(spec(), mesh, Plant::kEverythingCounted).squares / one.squares - 1), 1e-3);
}

// On the kernels that train, with weights that leave rounding as it is: those of the families above amplify it on one rank, too.
TEST_P(TensorAxis, InFloat32IsNearTheReference) {
  ModelSpec calm = spec();
  calm.initializer_range = 0.2;
  const TensorOutcome one = in_double(calm, {.context = 1, .tensor = 1});
  for (const int tensor : {1, 2, 3, 8}) {
    SCOPED_TRACE(fmt::format("tensor {}", tensor));
    expect_equal(step_on_mesh(calm, {.context = 1, .tensor = tensor}, [] { return make_context(DType::kFloat32); }), one, 1e-5);
  }
}

// Sums between ranks are in float32, so that more ranks round no more than one does.
TEST_P(TensorAxis, InBFloat16IsAsNearAsOneRank) {
  ModelSpec calm = spec();
  calm.initializer_range = 0.2;
  const TensorOutcome exact = in_double(calm, {.context = 1, .tensor = 1});
  const auto error_of = [&](int tensor) {
    const auto make = [] { return make_context(DType::kBFloat16); };
    return largest_error(step_on_mesh(calm, {.context = 1, .tensor = tensor}, make), exact);
  };
  const double of_one = error_of(1);
  EXPECT_LT(of_one, 0.2);
  for (const int tensor : {2, 3, 8}) EXPECT_LT(error_of(tensor), 1.25 * of_one) << "tensor " << tensor;
}

INSTANTIATE_TEST_SUITE_P(Families, TensorAxis, testing::Range<size_t>(0, 6), [](const auto& i) {
  std::string name = families().at(i.param).name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

// What is in tests/golden, on every tensor axis that their four heads allow.
TEST(TensorAxisOfGoldenShapes, EqualsOneRank) {
  for (const char* model : {"llama", "llama_linear_tied", "llama_llama3rope", "llama_yarn", "mistral", "qwen2", "qwen3"}) {
    const ModelSpec spec = read_huggingface_config(std::string(LS_TEST_DATA) + "/golden/" + model).spec;
    const TensorOutcome one = in_double(spec, {.context = 1, .tensor = 1});
    for (const int tensor : {2, 3, 4}) {
      for (const int context : {1, 2}) {
        SCOPED_TRACE(fmt::format("{} context {} tensor {}", model, context, tensor));
        expect_equal(in_double(spec, {.context = context, .tensor = tensor}), one, 1e-11);
      }
    }
  }
}

TEST(TensorAxisDegree, IsRefusedWithTheNearestThatWorks) {
  ModelSpec spec = spec_of(4, 2);
  EXPECT_EQ(max_tensor_degree(spec), 4);
  spec.mlp_size = 3;
  EXPECT_EQ(max_tensor_degree(spec), 3);
  expect_error(ErrorKind::kConfiguration, {"mesh.tensor is 5", "the nearest that works is 4"}, [&] {
    run_in_process(5, [&](Communicator& tensor) {
      const auto alone = make_self_communicator();
      const RingAttention attention(*alone, 1);
      const Decoder decoder(spec_of(4, 2), {.attention = attention, .tensor = tensor}, 6);
    });
  });
}

}  // namespace
}  // namespace longspan::test
