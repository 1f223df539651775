// Faults of the kernels of the cuda backend, planted one at a time: each is noticed. What orders threads is left out place by
// place; bounds, strides and operands are handed to the launches wrong.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/base/random.h"
#include "core/kernels/cuda/kernels.h"
#include "tests/core/cuda/on_device.h"
#include "tests/core/kernel_cases.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/planted_faults.h"

namespace longspan::test {
namespace {

using namespace LS_CUDA;

struct Synchronised {
  const char* name;  // of kernel_cases
  int64_t rows, n;
  size_t sites;
  bool narrows_in_place = false;  // in bfloat16: with a barrier more
};
// A block goes on to a second row only where there are more rows than blocks, 4096; to a second piece of tokens after 256.
const Synchronised kSynchronised[] = {{"rms_norm_forward", 4100, 3, 2},
                                      {"rms_norm_residual_forward", 4100, 3, 2},
                                      {"rms_norm_backward_input", 4100, 3, 2},
                                      {"rms_norm_residual_backward_input", 4100, 3, 2},
                                      {"rms_norm_backward_weight", 70, 40, 1},
                                      {"accumulate_rows", 70, 40, 1},
                                      {"scatter_add", 600, 40, 2},
                                      {"cross_entropy", 4100, 3, 4},
                                      {"cross_entropy_with_gradient", 4100, 3, 4},
                                      {"cross_entropy_with_gradient in place", 4100, 3, 4},
                                      {"cross_entropy_with_gradient over logits", 4100, 3, 4, true},
                                      {"partial_cross_entropy", 4100, 3, 4},
                                      {"sum_of_squares", 100, 90, 1}};

KernelRun run_of(const Synchronised& one, DType dtype) {
  for (const KernelCase& each : kernel_cases(one.rows, one.n)) {
    if (each.name != one.name) continue;
    return [each, dtype, want = run_case(make_reference_context(), each, dtype)] {
      const auto got = run_case(emulated_cuda_context(dtype), each, dtype);
      std::string all;
      for (size_t i = 0; i < got.size(); ++i) all += difference(got[i], want[i], tolerance(got[i].dtype()));
      return all;
    };
  }
  ADD_FAILURE() << "there is no case " << one.name;
  return [] { return std::string(); };
}

class Synchronisation : public testing::TestWithParam<Synchronised> {};
TEST_P(Synchronisation, IsMissedWhereverItIsLeftOut) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const bool narrows = GetParam().narrows_in_place && dtype == DType::kBFloat16;
    std::vector<Equivalent> equivalents;
    if (narrows) {
      equivalents = {{"bar.sync", 1, "after the sum of a row the barrier before its gradients separates what follows, too"}};
    }
    expect_every_site_needed(fmt::format("{} {}", GetParam().name, name(dtype)), run_of(GetParam(), dtype),
                             GetParam().sites + (narrows ? 1 : 0), equivalents);
  }
}
INSTANTIATE_TEST_SUITE_P(Kernels, Synchronisation, testing::ValuesIn(kSynchronised), [](const auto& one) {
  std::string title = one.param.name;
  std::replace(title.begin(), title.end(), ' ', '_');
  return title;
});

// Scenes: a launch with small operands, whose arguments can be changed, and all that it wrote.

DeviceBuffer<float> numbers(size_t n, const char* title) {
  std::vector<float> values(n);
  const RandomStream random(1, title);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(std::abs(random.normal(i)) + 0.1);
  return DeviceBuffer<float>(values);
}
std::vector<float> all_of(std::initializer_list<const DeviceBuffer<float>*> buffers) {
  std::vector<float> all;
  for (const auto* buffer : buffers) {
    const std::vector<float> values = buffer->values();
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}
template <class Arguments>
using Plant = std::function<void(Arguments&)>;

constexpr int64_t kRows = 70, kColumns = 12;
constexpr size_t kElements = kRows * kColumns;

std::vector<float> norm_forward(const Plant<RmsNormForward>& plant) {
  const auto x = numbers(kElements, "x"), residual = numbers(kElements, "residual"), weight = numbers(kColumns, "weight");
  const DeviceBuffer<float> sum(kElements), y(kElements), inverse(kRows);
  RmsNormForward a{kRows, kColumns, 1e-5f, x.data(), residual.data(), weight.data(), sum.data(), y.data(), inverse.data()};
  plant(a);
  launch_rms_norm_forward({}, DType::kFloat32, a);
  return all_of({&sum, &y, &inverse});
}

std::vector<float> norm_backward(const Plant<RmsNormBackward>& plant) {
  const auto dy = numbers(kElements, "dy"), x = numbers(kElements, "x"), weight = numbers(kColumns, "weight"),
             inverse = numbers(kRows, "inverse"), residual = numbers(kElements, "residual");
  const DeviceBuffer<float> dx(kElements);
  RmsNormBackward a{kRows, kColumns, dy.data(), x.data(), weight.data(), inverse.data(), residual.data(), dx.data()};
  plant(a);
  launch_rms_norm_backward({}, DType::kFloat32, a);
  return all_of({&dx});
}

struct WeightScene {
  RmsNormBackwardWeight arguments;
  DeviceBuffer<float>* too_few_parts;
};
std::vector<float> norm_weight(const Plant<WeightScene>& plant) {
  const auto dy = numbers(kElements, "dy"), x = numbers(kElements, "x"), inverse = numbers(kRows, "inverse"),
             dweight = numbers(kColumns, "dweight");
  const auto chunks = static_cast<size_t>(row_sum_chunks(kRows));
  DeviceBuffer<float> parts(chunks * kColumns), too_few((chunks - 1) * kColumns);
  WeightScene scene{{kRows, kColumns, dy.data(), x.data(), inverse.data(), parts.data(), dweight.data()}, &too_few};
  plant(scene);
  launch_rms_norm_backward_weight({}, DType::kFloat32, scene.arguments);
  return all_of({&dweight});
}

std::vector<float> rotate(const Plant<RotaryArguments>& plant) {
  constexpr int64_t kTokens = 5, kHeads = 3, kHeadDim = 8;
  const auto cosine = numbers(kTokens * kHeadDim / 2, "cosine"), sine = numbers(kTokens * kHeadDim / 2, "sine"),
             x = numbers(kTokens * kHeads * kHeadDim, "x");
  RotaryArguments a{kTokens, kHeads, kHeadDim, kHeads * kHeadDim, kHeadDim, cosine.data(), sine.data(), 1.0f, x.data()};
  plant(a);
  launch_rotate({}, DType::kFloat32, a);
  return all_of({&x});
}

std::vector<float> loss(const Plant<CrossEntropyArguments>& plant) {
  const auto logits = numbers(kElements, "logits");
  std::vector<int32_t> classes(kRows);
  for (size_t t = 0; t < classes.size(); ++t) classes[t] = static_cast<int32_t>(t % (kColumns + 1)) - 1;  // -1: none
  const DeviceBuffer<int32_t> targets(classes);
  const DeviceBuffer<float> losses(kRows), dlogits(kElements);
  CrossEntropyArguments a{kRows, kColumns, logits.data(), targets.data(), 0.5f, losses.data(), dlogits.data()};
  plant(a);
  launch_cross_entropy({}, DType::kFloat32, a);
  return all_of({&losses, &dlogits, &logits});
}

// Entries 3 to 14 of a vocabulary of 20; -1 and 20 are none.
constexpr int64_t kFirst = 3, kVocabulary = 20;
DeviceBuffer<int32_t> shared_targets() {
  std::vector<int32_t> classes(kRows);
  for (size_t t = 0; t < classes.size(); ++t) classes[t] = static_cast<int32_t>(t % (kVocabulary + 2)) - 1;
  return DeviceBuffer<int32_t>(classes);
}

std::vector<float> partial_loss(const Plant<PartialCrossEntropyArguments>& plant) {
  const auto logits = numbers(kElements, "logits");
  const auto targets = shared_targets();
  const DeviceBuffer<float> parts(3 * kRows);
  PartialCrossEntropyArguments a{kRows, kFirst, kColumns, logits.data(), targets.data(), parts.data()};
  plant(a);
  launch_partial_cross_entropy({}, a);
  return all_of({&parts});
}

std::vector<float> combined_loss(const Plant<CombineCrossEntropyArguments>& plant) {
  constexpr int64_t kRanks = 3;
  const auto parts = numbers(kRanks * 3 * kRows, "parts");
  const auto targets = shared_targets();
  const DeviceBuffer<float> losses(kRows), totals(2 * kRows);
  CombineCrossEntropyArguments a{kRanks, kRows, kVocabulary, parts.data(), targets.data(), losses.data(), totals.data()};
  plant(a);
  launch_combine_cross_entropy({}, a);
  return all_of({&losses, &totals});
}

std::vector<float> shared_gradient(const Plant<CrossEntropyGradientArguments>& plant) {
  const auto logits = numbers(kElements, "logits"), totals = numbers(2 * kRows, "totals");
  const auto targets = shared_targets();
  const DeviceBuffer<float> dlogits(kElements);
  CrossEntropyGradientArguments a{kRows, kVocabulary,   kFirst,         kColumns, logits.data(), targets.data(),
                                  0.5f,  totals.data(), dlogits.data(), kColumns};
  plant(a);
  launch_cross_entropy_gradient({}, DType::kFloat32, a);
  return all_of({&dlogits});
}

std::vector<float> scatter(const Plant<EmbeddingShape>& plant) {
  constexpr int64_t kEntries = 11;
  std::vector<int32_t> ids(kRows);
  for (size_t t = 0; t < ids.size(); ++t) ids[t] = static_cast<int32_t>(t % (kEntries + 1));  // one is not in the table
  const DeviceBuffer<int32_t> tokens(ids);
  const auto dy = numbers(kElements, "dy"), dtable = numbers(kEntries * kColumns, "dtable");
  EmbeddingShape shape{kRows, kEntries, 0, kEntries, kColumns};
  plant(shape);
  launch_scatter_add({}, DType::kFloat32, shape, tokens.data(), dy.data(), dtable.data());
  return all_of({&dtable});
}

std::vector<float> adamw(const Plant<AdamWArguments>& plant) {
  const auto gradient = numbers(kElements, "gradient"), master = numbers(kElements, "master"),
             first = numbers(kElements, "first"), second = numbers(kElements, "second");
  AdamWArguments a{kElements, 1.0f,  0.9f,           0.1f,          0.95f,        0.05f,         0.1f,
                   0.01f,     1.5f,  1e-8f,          gradient.data(), master.data(), first.data(), second.data(),
                   master.data()};
  plant(a);
  launch_adamw({}, DType::kFloat32, a);
  return all_of({&master, &first, &second});
}

std::vector<float> swiglu(const Plant<SwigluBackward>& plant) {
  const auto dy = numbers(kElements, "dy"), gate = numbers(kElements, "gate"), up = numbers(kElements, "up");
  const DeviceBuffer<float> dgate(kElements), dup(kElements);
  SwigluBackward a{dy.data(), gate.data(), up.data(), dgate.data(), dup.data()};
  plant(a);
  launch_swiglu_backward({}, DType::kFloat32, kElements, a);
  return all_of({&dgate, &dup});
}

struct Fault {
  std::string name;
  KernelRun wrong;
};
template <class Arguments>
Fault fault(const char* name, std::vector<float> (*scene)(const Plant<Arguments>&), void (*plant)(Arguments&)) {
  return {name, [=]() -> std::string {
            const std::vector<float> want = scene([](Arguments&) {}), got = scene(plant);
            for (size_t i = 0; i < want.size(); ++i)
              if (!(std::abs(got[i] - want[i]) <= 1e-3f * std::abs(want[i])))
                return fmt::format("element {} is {}, not {}", i, got[i], want[i]);
            return {};
          }};
}

const Fault kFaults[] = {
    fault<RmsNormForward>("norm: a row too many", norm_forward, [](auto& a) { ++a.rows; }),
    fault<RmsNormForward>("norm: a row too few", norm_forward, [](auto& a) { --a.rows; }),
    fault<RmsNormForward>("norm: rows one element too short", norm_forward, [](auto& a) { --a.n; }),
    fault<RmsNormForward>("norm: no residual", norm_forward, [](auto& a) { a.residual = nullptr; }),
    fault<RmsNormForward>("norm: y over x of the next row", norm_forward,
                          [](auto& a) { a.y = static_cast<float*>(const_cast<void*>(a.x)) + a.n; }),
    fault<RmsNormBackward>("norm's gradient: the next row's rms", norm_backward, [](auto& a) { ++a.inverse_rms; }),
    fault<RmsNormBackward>("norm's gradient: no residual", norm_backward, [](auto& a) { a.residual = nullptr; }),
    fault<WeightScene>("norm's weights: room for one part too few", norm_weight,
                       [](auto& s) { s.arguments.parts = s.too_few_parts->data(); }),
    fault<WeightScene>("norm's weights: a row too few", norm_weight, [](auto& s) { --s.arguments.rows; }),
    fault<WeightScene>("norm's weights: the sum is not set to zero", norm_weight,
                       [](auto& s) { s.arguments.dweight[3] = std::nanf(""); }),
    fault<RotaryArguments>("rotary: the other way", rotate, [](auto& a) { a.sign = -a.sign; }),
    fault<RotaryArguments>("rotary: heads too close", rotate, [](auto& a) { a.head_stride /= 2; }),
    fault<RotaryArguments>("rotary: a token too many", rotate, [](auto& a) { ++a.tokens; }),
    fault<RotaryArguments>("rotary: a head too few", rotate, [](auto& a) { --a.heads; }),
    fault<CrossEntropyArguments>("loss: the last class is left out", loss, [](auto& a) { --a.vocabulary; }),
    fault<CrossEntropyArguments>("loss: a token too many", loss, [](auto& a) { ++a.tokens; }),
    fault<CrossEntropyArguments>("loss: targets of the next token", loss, [](auto& a) { ++a.targets; }),
    fault<CrossEntropyArguments>("loss: the gradient over the next row's logits", loss,
                                 [](auto& a) { a.dlogits = const_cast<float*>(a.logits) + a.vocabulary; }),
    fault<CrossEntropyArguments>("loss: no scale", loss, [](auto& a) { a.gradient_scale = 1; }),
    fault<PartialCrossEntropyArguments>("a slice's loss: the last entry is left out", partial_loss, [](auto& a) { --a.held; }),
    fault<PartialCrossEntropyArguments>("a slice's loss: the slice before", partial_loss, [](auto& a) { --a.first; }),
    fault<PartialCrossEntropyArguments>("a slice's loss: a token too few", partial_loss, [](auto& a) { --a.tokens; }),
    fault<PartialCrossEntropyArguments>("a slice's loss: targets of the next token", partial_loss, [](auto& a) { ++a.targets; }),
    fault<CombineCrossEntropyArguments>("combined losses: a rank is left out", combined_loss, [](auto& a) { --a.ranks; }),
    fault<CombineCrossEntropyArguments>("combined losses: a rank too many", combined_loss, [](auto& a) { ++a.ranks; }),
    fault<CombineCrossEntropyArguments>("combined losses: a token too few", combined_loss, [](auto& a) { --a.tokens; }),
    fault<CombineCrossEntropyArguments>("combined losses: a target beyond the vocabulary counts", combined_loss,
                                        [](auto& a) { ++a.vocabulary; }),
    fault<CombineCrossEntropyArguments>("combined losses: over the totals", combined_loss, [](auto& a) { a.losses = a.totals; }),
    fault<CrossEntropyGradientArguments>("a slice's gradient: the slice before", shared_gradient, [](auto& a) { --a.first; }),
    fault<CrossEntropyGradientArguments>("a slice's gradient: the last entry is left out", shared_gradient,
                                         [](auto& a) { --a.held; }),
    fault<CrossEntropyGradientArguments>("a slice's gradient: a target beyond the vocabulary counts", shared_gradient,
                                         [](auto& a) { ++a.vocabulary; }),
    fault<CrossEntropyGradientArguments>("a slice's gradient: totals of the next token", shared_gradient,
                                         [](auto& a) { ++a.totals; }),
    fault<CrossEntropyGradientArguments>("a slice's gradient: rows too far apart", shared_gradient,
                                         [](auto& a) { ++a.gradient_stride; }),
    fault<EmbeddingShape>("embedding: a token that is not in the table", scatter, [](auto& a) { ++a.vocabulary, ++a.rows; }),
    fault<EmbeddingShape>("embedding: the last row is left out", scatter, [](auto& a) { --a.rows; }),
    fault<EmbeddingShape>("embedding: a token too few", scatter, [](auto& a) { --a.tokens; }),
    fault<AdamWArguments>("adamw: an element too many", adamw, [](auto& a) { ++a.count; }),
    fault<AdamWArguments>("adamw: an element too few", adamw, [](auto& a) { --a.count; }),
    fault<AdamWArguments>("adamw: one buffer for both moments", adamw, [](auto& a) { a.second_moment = a.first_moment; }),
    fault<SwigluBackward>("swiglu: one buffer for both gradients", swiglu, [](auto& a) { a.dup = a.dgate; }),
    fault<SwigluBackward>("swiglu: gate and up exchanged", swiglu, [](auto& a) { std::swap(a.gate, a.up); }),
};

TEST(PlantedFaults, OfOperandsAndBoundsAreNoticed) {
  EXPECT_GE(std::size(kFaults), 20u);
  for (const Fault& one : kFaults) expect_noticed(one.name, one.wrong);
}

}  // namespace
}  // namespace longspan::test
