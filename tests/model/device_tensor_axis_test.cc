// A tensor axis whose tensors the host cannot touch: the cuda backend on the device of this program, against one rank of the
// reference.
#include <gtest/gtest.h>

#include "tests/model/tensor_axis_case.h"
#include "tests/support/device_under_test.h"
#include "tests/support/reference_context.h"

namespace longspan::test {
namespace {

TEST(DeviceTensorAxis, EqualsOneRankOfTheReference) {
  ModelSpec spec;
  spec.vocabulary_size = 29;
  spec.hidden_size = 24;
  spec.num_layers = 2;
  spec.num_heads = 6;
  spec.num_kv_heads = 2;
  spec.head_dim = 6;
  spec.mlp_size = 41;
  spec.initializer_range = 0.2;
  spec.bias = ModelSpec::Bias::kQkv;
  spec.tie_embeddings = ModelSpec::Tie::kYes;
  spec.qk_norm = ModelSpec::QkNorm::kYes;
  const auto on_device = [] { return device_context(DType::kFloat32); };
  const auto reference = [] { return make_context(DType::kFloat64); };
  const TensorOutcome want = step_on_mesh(spec, {.context = 1, .tensor = 1}, reference);
  for (const auto& [context, tensor] : {std::pair{1, 2}, {1, 4}, {2, 2}}) {
    SCOPED_TRACE(fmt::format("context {} tensor {}", context, tensor));
    expect_equal(step_on_mesh(spec, {.context = context, .tensor = tensor}, on_device), want, 1e-5);
  }
}

}  // namespace
}  // namespace longspan::test
