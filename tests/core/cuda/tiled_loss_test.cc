// The head and its loss over the kernels of the cuda backend: tile by tile, with gradients in the memory of their logits.
#include "core/nn/tiled_loss.h"

#include <gtest/gtest.h>

#include "core/kernels/loss.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/reference_context.h"
#include "tests/support/simt/scheduler.h"
#include "tests/support/tensors.h"

namespace longspan::test {
namespace {

constexpr int64_t kTokens = 21, kHidden = 16;

struct Step {
  std::vector<double> losses, dx, dweight;
};

Tensor copied(const Context& context, const Tensor& from, DType dtype) {
  const Tensor to = context.empty(from.shape(), dtype);
  const std::vector<double> numbers = values(from);
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (dtype == DType::kFloat64) to.data<double>()[i] = numbers[i];
    else if (dtype == DType::kFloat32) to.data<float>()[i] = static_cast<float>(numbers[i]);
    else to.data<bfloat16>()[i] = bfloat16(static_cast<float>(numbers[i]));
  }
  return to;
}

// Of inputs that any dtype holds.
Step step(Context context, int64_t vocabulary, int64_t tile_tokens) {
  const Context host = make_context(DType::kFloat32);
  const DType dtype = context.compute_dtype(), sums = context.accumulator_dtype();
  Parameter weight;
  weight.name = "head", weight.shape = {vocabulary, kHidden};
  weight.value = copied(context, random_tensor(host, weight.shape, DType::kBFloat16, 1, "weight"), dtype);
  weight.gradient = copied(context, random_tensor(host, weight.shape, DType::kFloat32, 1, "gradient", 0), sums);
  const Tensor x = copied(context, random_tensor(host, {kTokens, kHidden}, DType::kBFloat16, 1, "x"), dtype);
  const Tensor targets = context.empty({kTokens}, DType::kInt32);
  for (int64_t t = 0; t < kTokens; ++t) {
    targets.data<int32_t>()[t] = t % 5 == 4 ? kNoTarget : static_cast<int32_t>(t * 37 % vocabulary);
  }
  TiledLoss::Stash stash;
  const TiledLoss loss(weight, tile_tokens);
  Step result;
  result.losses = values(loss.forward(context, x, targets, 1.0 / kTokens, &stash));
  result.dx = values(loss.backward_input(stash));
  result.dweight = values(weight.gradient);
  return result;
}

TEST(TiledLossOnCuda, OfAnyTileIsThatOfTheWhole) {
  for (const int64_t vocabulary : {1, 7, 40, 2056, 2051}) {
    const Step want = step(make_context(DType::kFloat64), vocabulary, kTokens);
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      const double bound = dtype == DType::kFloat32 ? 1e-5 : 8e-3;
      uint64_t seed = 1;
      for (const int64_t tile : {1, 5, 16, 21, 4096}) {
        simt::options() = {};
        simt::options().seed = seed++;
        const Step got = step(emulated_cuda_context(dtype), vocabulary, tile);
        SCOPED_TRACE(testing::Message() << vocabulary << " words, tiles of " << tile << ", " << name(dtype));
        EXPECT_LE(relative_error(got.losses, want.losses), 1e-5);
        if (vocabulary == 1) continue;  // its gradients are 0
        EXPECT_LE(relative_error(got.dx, want.dx), bound);
        EXPECT_LE(relative_error(got.dweight, want.dweight), bound);
      }
    }
  }
}

TEST(TiledLossOnCuda, GradientsTakeTheLogitsPlace) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Context device = emulated_cuda_context(dtype), cpu = make_context(dtype);
    const auto shares = [&](const Context& context) {
      const Tensor logits = context.empty({3, 40}, DType::kFloat32);
      const Tensor dlogits = context.kernels<Loss>().gradient_over(context, logits, dtype);
      EXPECT_EQ(dlogits.shape(), logits.shape());
      EXPECT_EQ(dlogits.dtype(), dtype);
      return dlogits.storage_id() == logits.storage_id();
    };
    EXPECT_TRUE(shares(device));
    EXPECT_EQ(shares(cpu), dtype == DType::kFloat32);
  }
}

// A tensor that only happens to lie there, with rows elsewhere, is refused.
TEST(TiledLossOnCuda, OtherOverlapsAreRefused) {
  const Context device = emulated_cuda_context(DType::kBFloat16);
  const Tensor logits = device.empty({3, 40}, DType::kFloat32), losses = device.empty({3}, DType::kFloat32);
  const Tensor targets = device.empty({3}, DType::kInt32);
  std::fill_n(targets.data<int32_t>(), 3, 0);
  const Tensor wide = device.empty({3, 80}, DType::kBFloat16);
  EXPECT_THROW(device.kernels<Loss>().cross_entropy_with_gradient(device, logits, targets, 1, losses, wide.slice(1, 0, 40)),
               Error);
}

// Tiles of 2,048 to 4,096 tokens keep a GPU busy; a CPU's are smaller.
TEST(TiledLossOnCuda, HasTilesForTheDevice) {
  EXPECT_EQ(TiledLoss::default_tile_tokens(DeviceType::kCpu), 1024);
  EXPECT_GE(TiledLoss::default_tile_tokens(DeviceType::kCuda), 2048);
  EXPECT_LE(TiledLoss::default_tile_tokens(DeviceType::kCuda), 4096);
}

}  // namespace
}  // namespace longspan::test
