// What kernels refuse.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/kernels/activation.h"
#include "core/kernels/backends.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/embedding.h"
#include "core/kernels/linear_algebra.h"
#include "core/kernels/loss.h"
#include "core/kernels/normalization.h"
#include "core/kernels/optimizer.h"
#include "core/kernels/rotary.h"
#include "tests/core/expect_error.h"
#include "tests/core/kernel_cases.h"

namespace longspan::test {
namespace {

constexpr auto kF32 = DType::kFloat32;

class Refusals : public testing::Test {
 protected:
  Tensor make(const Shape& shape, DType dtype = kF32) { return cpu_.zeros(shape, dtype); }
  template <class Family, class Body>
  void refused(std::initializer_list<const char*> words, Body body) {
    expect_error(ErrorKind::kInternal, words, [&] { body(cpu_.kernels<Family>()); });
  }
  Context cpu_ = make_cpu_context(kF32, detect_cpu_level(), 1);
};

TEST_F(Refusals, OfGemm) {
  const auto refuse = [&](std::initializer_list<const char*> words, Tensor a, Tensor b, Tensor c) {
    refused<LinearAlgebra>(words, [&](const LinearAlgebra& k) { k.gemm(cpu_, {}, a, b, c); });
  };
  refuse({"[2, 3]", "[4, 5]"}, make({2, 3}), make({4, 5}), make({2, 5}));
  refuse({"c has shape [2, 4]", "[2, 5]"}, make({2, 3}), make({3, 5}), make({2, 4}));
  refuse({"b is bfloat16", "float32"}, make({2, 3}), make({3, 5}, DType::kBFloat16), make({2, 5}));
  refuse({"c is bfloat16", "float32"}, make({2, 3}), make({3, 5}), make({2, 5}, DType::kBFloat16));
  refuse({"a is int32"}, make({2, 3}, DType::kInt32), make({3, 5}), make({2, 5}));
  refuse({"a has shape [2, 3, 1]", "3 dims", "2"}, make({2, 3, 1}), make({3, 5}), make({2, 5}));
  refuse({"columns of b", "2"}, make({2, 3}), make({3, 5, 2}).select(2, 0), make({2, 5}));
  refuse({"a is missing"}, Tensor(), make({3, 5}), make({2, 5}));
}

TEST_F(Refusals, OfNormalization) {
  refused<Normalization>({"weight has shape [4]", "[5]"}, [&](const Normalization& k) {
    k.rms_norm_forward(cpu_, 0, make({2, 5}), make({4}), make({2, 5}), make({2}));
  });
  refused<Normalization>({"inverse_rms is bfloat16", "float32"}, [&](const Normalization& k) {
    k.rms_norm_forward(cpu_, 0, make({2, 5}), make({5}), make({2, 5}), make({2}, DType::kBFloat16));
  });
  refused<Normalization>({"epsilon is -1"}, [&](const Normalization& k) {
    k.rms_norm_forward(cpu_, -1, make({2, 5}), make({5}), make({2, 5}), make({2}));
  });
  refused<Normalization>({"x of shape [2, 4]", "not contiguous"}, [&](const Normalization& k) {
    k.rms_norm_backward_weight(cpu_, make({2, 4}), make({2, 5}).slice(1, 0, 4), make({2}), make({4}));
  });
}

TEST_F(Refusals, OfRotary) {
  refused<Rotary>({"head_dim is 5"}, [&](const Rotary& k) {
    k.rotate(cpu_, RotaryDirection::kForward, make({2, 2}), make({2, 2}), make({2, 1, 5}));
  });
  refused<Rotary>({"cosine has shape [2, 4]", "[2, 2]"}, [&](const Rotary& k) {
    k.rotate(cpu_, RotaryDirection::kForward, make({2, 4}), make({2, 2}), make({2, 1, 4}));
  });
}

TEST_F(Refusals, OfActivation) {
  refused<Activation>({"up has shape [2, 4]", "[2, 5]"}, [&](const Activation& k) {
    k.swiglu_forward(cpu_, make({2, 5}), make({2, 4}), make({2, 5}));
  });
}

TEST_F(Refusals, OfTokens) {
  const Tensor tokens = make({3}, DType::kInt32), losses = make({3}), logits = make({3, 7});
  for (const int32_t bad : {-2, 7, std::numeric_limits<int32_t>::max()}) {
    tokens.data<int32_t>()[1] = bad;
    const std::string text = std::to_string(bad);
    expect_error(ErrorKind::kData, {"target 1", text.c_str(), "[0, 7)"},
                 [&] { cpu_.kernels<Loss>().cross_entropy(cpu_, logits, tokens, losses); });
    expect_error(ErrorKind::kData, {"token 1", text.c_str(), "[0, 7)"}, [&] {
      cpu_.kernels<Embedding>().gather(cpu_, tokens, make({7, 2}), make({3, 2}));
    });
    expect_error(ErrorKind::kData, {"token 1", text.c_str(), "[0, 7)"}, [&] {
      cpu_.kernels<Embedding>().scatter_add(cpu_, tokens, make({3, 2}), make({7, 2}));
    });
  }
  refused<Loss>({"logits are bfloat16"}, [&](const Loss& k) {
    k.cross_entropy(cpu_, make({3, 7}, DType::kBFloat16), tokens, losses);
  });
  refused<Embedding>({"tokens is int64", "int32"}, [&](const Embedding& k) {
    k.gather(cpu_, make({3}, DType::kInt64), make({7, 2}), make({3, 2}));
  });
}

TEST_F(Refusals, OfOptimizerAndElementwise) {
  const Tensor x = make({4});
  refused<OptimizerKernels>({"step 0"}, [&](const OptimizerKernels& k) {
    AdamWOptions options;
    options.step = 0;
    k.adamw(cpu_, options, x, x, x, x, x);
  });
  refused<OptimizerKernels>({"master is bfloat16", "float32"}, [&](const OptimizerKernels& k) {
    k.adamw(cpu_, {}, x, make({4}, DType::kBFloat16), x, x, x);
  });
  refused<Elementwise>({"b has shape [5]", "[4]"},
                       [&](const Elementwise& k) { k.add(cpu_, x, make({5}), x); });
  refused<Elementwise>({"to is int32"},
                       [&](const Elementwise& k) { k.convert(cpu_, x, make({4}, DType::kInt32)); });
  refused<Elementwise>({"sum is bfloat16", "float32"},
                       [&](const Elementwise& k) { k.accumulate(cpu_, x, make({4}, DType::kBFloat16)); });
}

// A NaN in a gradient or a logit must reach whoever checks for it.
TEST(Kernels, LetNaNThrough) {
  const Context c = make_cpu_context(kF32, detect_cpu_level(), 1);
  const Tensor logits = c.zeros({1, 40}, kF32), losses = c.zeros({1}, kF32),
               targets = c.zeros({1}, DType::kInt32);
  logits.data<float>()[39] = logits.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  c.kernels<Loss>().cross_entropy(c, logits, targets, losses);
  EXPECT_TRUE(std::isnan(losses.data<float>()[0]));
  EXPECT_TRUE(std::isnan(c.kernels<OptimizerKernels>().sum_of_squares(c, logits)));
  const Tensor y = c.zeros({1, 40}, kF32);
  c.kernels<Activation>().swiglu_forward(c, logits, logits, y);
  EXPECT_TRUE(std::isnan(y.data<float>()[3]) && std::isnan(y.data<float>()[39]));
}

TEST(Kernels, SurviveExtremeLogits) {
  const Context c = make_cpu_context(kF32, detect_cpu_level(), 1);
  const Tensor logits = c.zeros({2, 33}, kF32), losses = c.zeros({2}, kF32),
               targets = c.zeros({2}, DType::kInt32);
  for (int i = 0; i < 33; ++i) {
    logits.data<float>()[i] = i == 0 ? 1e30f : -1e30f;
    logits.data<float>()[33 + i] = i < 2 ? 500.0f : -std::numeric_limits<float>::infinity();
  }
  c.kernels<Loss>().cross_entropy(c, logits, targets, losses);
  EXPECT_EQ(losses.data<float>()[0], 0);
  EXPECT_NEAR(losses.data<float>()[1], std::log(2.0), 1e-6);
}

}  // namespace
}  // namespace longspan::test
