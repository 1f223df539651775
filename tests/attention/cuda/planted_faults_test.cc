// Faults of the attention kernels of the cuda backend, planted one at a time: each is noticed. What orders threads and copies is
// left out place by place; intervals, bounds, strides and operands are handed to the launches wrong.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "attention/kernels/cuda/kernels.h"
#include "tests/attention/attention_cases.h"
#include "tests/core/cuda/on_device.h"
#include "tests/support/emulated_cuda.h"
#include "tests/support/planted_faults.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"

namespace longspan::test {
namespace {

using namespace LS_CUDA;

constexpr Rounding kBFloat16Rounding = {.output = 1.0 / 256, .gradient = 2.0 / 256, .lse = 1e-6};
constexpr double kTolerance = 3e-6;
constexpr uint64_t kInputSeed = 1;

std::string difference_of(const Result& got, const Result& want, DType dtype) {
  return difference(got, want, kTolerance, dtype == DType::kBFloat16 ? kBFloat16Rounding : Rounding{});
}
Result right_answer(const Problem& problem, const Inputs& inputs) {
  const Context reference = make_context(DType::kFloat64);
  return attend(reference, as_double(reference, inputs), visible(problem, kInputSeed), {0, problem.num_keys});
}

// What orders threads and copies -----------------------------------------------------------------------------------------

struct Synchronised {
  std::string name;
  int64_t head_dim;
  DType dtype;
  size_t sites;
};
class Synchronisation : public testing::TestWithParam<Synchronised> {};

// Several tiles, neither keys nor queries whole ones, and windows that begin within a tile: the zeros around them are needed, as
// are those beside heads that are narrower than what is multiplied.
TEST_P(Synchronisation, IsMissedWhereverItIsLeftOut) {
  const auto& [title, head_dim, dtype, sites] = GetParam();
  const Problem problem = {.num_queries = 130, .num_keys = 200, .num_heads = 2, .num_kv_heads = 1, .head_dim = head_dim,
                           .kind = Problem::Kind::kWindow};
  const Context device = emulated_cuda_context(dtype);
  const Inputs inputs = make_inputs(device, problem, dtype, kInputSeed);
  const Result want = right_answer(problem, inputs);
  const auto run = [&] {
    return difference_of(attend(device, inputs, visible(problem, kInputSeed), {0, problem.num_keys}), want, dtype);
  };
  expect_every_site_needed(title, run, sites);
}
INSTANTIATE_TEST_SUITE_P(Kernels, Synchronisation,
                         testing::Values(Synchronised{"matrix_64", 40, DType::kBFloat16, 19},
                                         Synchronised{"matrix_128", 72, DType::kBFloat16, 19},
                                         Synchronised{"plain_bfloat16", 20, DType::kBFloat16, 6},
                                         Synchronised{"plain_float32", 40, DType::kFloat32, 6}),
                         [](const auto& one) { return one.param.name; });

// Wrong intervals, bounds and operands -----------------------------------------------------------------------------------

// All that launches are given, to be changed before they run.
struct Scene {
  std::vector<int32_t> begin, end;
  std::vector<TileInterval> query_tiles;
  std::vector<QueryRange> key_tiles;
  ForwardArguments forward;
  BackwardArguments backward;
  float empty_lse = -std::numeric_limits<float>::infinity(), begun = static_cast<float>(kBegunGradient);
  bool has_delta = true;
};
using Plant = std::function<void(Scene&)>;

class Stage {
 public:
  Stage(DType dtype, int64_t head_dim, Problem::Kind kind = Problem::Kind::kWindow)
      : dtype_(dtype),
        problem_{.num_queries = 100, .num_keys = 150, .num_heads = 4, .num_kv_heads = 2, .head_dim = head_dim, .kind = kind},
        device_(emulated_cuda_context(dtype)),
        inputs_(make_inputs(device_, problem_, dtype, kInputSeed)),
        want_(right_answer(problem_, inputs_)) {}

  std::string run(const Plant& plant) const {
    const auto elements = [&](int64_t tokens, int64_t heads) { return static_cast<size_t>(tokens * heads * problem_.head_dim); };
    const size_t queries = elements(problem_.num_queries, problem_.num_heads), rows = queries / problem_.head_dim,
                 keys = elements(problem_.num_keys, problem_.num_kv_heads);
    const DeviceBuffer<float> output(queries), lse(rows), delta(rows), dq(queries), dk(keys), dv(keys);
    Scene scene = right_scene();
    scene.forward.output = output.data(), scene.forward.lse = lse.data();
    scene.backward.lse = lse.data(), scene.backward.delta = delta.data();
    scene.backward.dq = dq.data(), scene.backward.dk = dk.data(), scene.backward.dv = dv.data();
    plant(scene);
    const DeviceBuffer<int32_t> begin(scene.begin), end(scene.end);
    const DeviceBuffer<TileInterval> query_tiles(scene.query_tiles);
    const DeviceBuffer<QueryRange> key_tiles(scene.key_tiles);
    scene.forward.visible = scene.backward.visible = {begin.data(), end.data(), query_tiles.data(), key_tiles.data()};
    launch_fill({}, static_cast<int64_t>(rows), scene.empty_lse, lse.data());
    for (const auto* gradient : {&dq, &dk, &dv})
      launch_fill({}, static_cast<int64_t>(gradient == &dq ? queries : keys), scene.begun, gradient->data());
    launch(scene, output, delta);
    return difference_of({doubles(output), doubles(lse), doubles(dq), doubles(dk), doubles(dv)}, want_, dtype_);
  }

 private:
  static std::vector<double> doubles(const DeviceBuffer<float>& buffer) {
    const std::vector<float> values = buffer.values();
    return {values.begin(), values.end()};
  }

  void launch(const Scene& scene, const DeviceBuffer<float>& output, const DeviceBuffer<float>& delta) const {
    const bool by_matrices = dtype_ == DType::kBFloat16;
    if (by_matrices) launch_matrix_forward({}, scene.forward);
    else launch_plain_forward({}, dtype_, scene.forward);
    const Strided dense = {output.data(), problem_.num_heads * problem_.head_dim, problem_.head_dim};
    if (scene.has_delta) {
      launch_delta({}, DType::kFloat32, dtype_,
                   {problem_.num_queries, problem_.num_heads, problem_.head_dim, dense, strided(inputs_.dy), delta.data()});
    } else {
      launch_fill({}, problem_.num_queries * problem_.num_heads, 0.0f, delta.data());
    }
    if (by_matrices) launch_matrix_backward({}, scene.backward);
    else launch_plain_backward({}, dtype_, scene.backward);
  }

  static Strided strided(const Tensor& tensor) {
    return {tensor.raw(), tensor.layout().strides()[0], tensor.layout().strides()[1]};
  }

  Scene right_scene() const {
    const KeyIntervals seen(visible(problem_, kInputSeed), {{.start = 0, .stride = 1, .length = problem_.num_keys}});
    Scene scene{};
    scene.begin.assign(seen.begin().begin(), seen.begin().end());
    scene.end.assign(seen.end().begin(), seen.end().end());
    for (const KeyIntervals::Tile& t : seen.tiles()) {
      scene.query_tiles.push_back({t.any_begin, t.any_end, t.all_begin, t.all_end});
    }
    for (int32_t key = 0; key < problem_.num_keys; key += kTile) {
      QueryRange range{std::numeric_limits<int32_t>::max(), 0};
      for (int32_t query = 0; query < problem_.num_queries; ++query) {
        const auto i = static_cast<size_t>(query);
        if (scene.begin[i] < key + kTile && scene.end[i] > std::max(key, scene.begin[i]))
          range = {std::min(range.begin, query), std::max(range.end, query + 1)};
      }
      scene.key_tiles.push_back(range);
    }
    const auto size = [](int64_t n) { return static_cast<int32_t>(n); };
    scene.forward.shape = {size(problem_.num_queries), size(problem_.num_keys), size(problem_.num_heads),
                           size(problem_.num_kv_heads), size(problem_.head_dim),
                           1 / std::sqrt(static_cast<float>(problem_.head_dim))};
    scene.forward.q = strided(inputs_.q), scene.forward.k = strided(inputs_.k), scene.forward.v = strided(inputs_.v);
    scene.backward.shape = scene.forward.shape;
    scene.backward.q = scene.forward.q, scene.backward.k = scene.forward.k, scene.backward.v = scene.forward.v;
    scene.backward.doutput = strided(inputs_.dy);
    return scene;
  }

  DType dtype_;
  Problem problem_;
  Context device_;
  Inputs inputs_;
  Result want_;
};

template <class Change>
void for_both(Scene& scene, Change change) {
  change(scene.forward);
  change(scene.backward);
}

struct Fault {
  const char* name;
  Plant plant;
};
const Fault kFaults[] = {
    {"queries see one key too many",
     [](Scene& s) {
       for (size_t i = 0; i < s.end.size(); ++i) s.end[i] = std::min(s.end[i] + 1, s.query_tiles[i / kTile].any_end);
     }},
    {"queries do not see their last key", [](Scene& s) { for (int32_t& end : s.end) --end; }},
    {"queries do not see their first key", [](Scene& s) { for (int32_t& begin : s.begin) ++begin; }},
    {"queries see a key before their first",
     [](Scene& s) {
       for (size_t i = 0; i < s.begin.size(); ++i) s.begin[i] = std::max(s.begin[i] - 1, s.query_tiles[i / kTile].any_begin);
     }},
    {"the next query's interval",
     [](Scene& s) {
       std::rotate(s.begin.begin(), s.begin.begin() + 1, s.begin.end());
       std::rotate(s.end.begin(), s.end.begin() + 1, s.end.end());
     }},
    {"tiles of queries end too early", [](Scene& s) { for (auto& tile : s.query_tiles) tile.any_end -= 16; }},
    {"tiles of queries begin too late", [](Scene& s) { for (auto& tile : s.query_tiles) tile.any_begin += 16; }},
    {"a tile of queries that sees nothing", [](Scene& s) { s.query_tiles[3] = {}; s.query_tiles[2] = {}; }},
    {"tiles of keys are left too early", [](Scene& s) { for (auto& tile : s.key_tiles) tile.end -= 64; }},
    {"tiles of keys are met too late", [](Scene& s) { for (auto& tile : s.key_tiles) tile.begin += 64; }},
    {"tiles of keys that nobody sees", [](Scene& s) { s.key_tiles[2] = s.key_tiles[3] = {0x7fffffff, 0}; }},
    {"the empty state is not cleared", [](Scene& s) { s.empty_lse = std::nanf(""); }},
    {"the empty state weighs as much as a key", [](Scene& s) { s.empty_lse = 0; }},
    {"gradients are not set to zero", [](Scene& s) { s.begun = std::nanf(""); }},
    {"no delta", [](Scene& s) { s.has_delta = false; }},
    {"no scale", [](Scene& s) { for_both(s, [](auto& a) { a.shape.scale = 1; }); }},
    {"another scale in backward", [](Scene& s) { s.backward.shape.scale *= 1.1f; }},
    {"a head of keys for each of queries", [](Scene& s) { for_both(s, [](auto& a) { a.shape.num_kv_heads *= 2; }); }},
    {"one head of keys for all", [](Scene& s) { for_both(s, [](auto& a) { a.k.head_stride = 0; }); }},
    {"values of too few heads", [](Scene& s) { for_both(s, [](auto& a) { a.v.token_stride /= 2; }); }},
    {"gradients of too few heads", [](Scene& s) { s.backward.doutput.token_stride /= 2; }},
    {"a key too many", [](Scene& s) { for_both(s, [](auto& a) { ++a.shape.num_keys; }); }},
    {"a query too many", [](Scene& s) { for_both(s, [](auto& a) { ++a.shape.num_queries; }); }},
    {"a query too few", [](Scene& s) { for_both(s, [](auto& a) { --a.shape.num_queries; }); }},
    {"another query's log-sum-exp", [](Scene& s) { ++s.backward.lse; }},
    {"another query's delta", [](Scene& s) { ++s.backward.delta; }},
    {"keys for values", [](Scene& s) { for_both(s, [](auto& a) { a.v = a.k; }); }},
    {"gradients of keys in the next head", [](Scene& s) { s.backward.dk += s.backward.shape.head_dim; }},
    {"one buffer for two gradients", [](Scene& s) { s.backward.dv = s.backward.dk; }},
    {"heads too long", [](Scene& s) { for_both(s, [](auto& a) { a.shape.head_dim += 8; }); }},
};
// Of what only the kernels of matrices use.
const Fault kMatrixFaults[] = {
    {"no mask", [](Scene& s) { for (auto& tile : s.query_tiles) tile.all_begin = 0, tile.all_end = 0x7fffffff; }},
    {"operands that are not aligned",
     [](Scene& s) { for_both(s, [](auto& a) { a.k.data = static_cast<const bfloat16*>(a.k.data) + 1; }); }},
    {"heads that are not aligned", [](Scene& s) { for_both(s, [](auto& a) { a.q.head_stride += 4; }); }},
};
const Fault kCausalFaults[] = {
    {"no mask at the end", [](Scene& s) { for (auto& tile : s.query_tiles) tile.all_end = 0x7fffffff; }},
};

void expect_all_noticed(const std::string& kernel, const Stage& stage, std::span<const Fault> faults) {
  ASSERT_EQ(stage.run([](Scene&) {}), "") << kernel;
  for (const Fault& fault : faults) expect_noticed(kernel + ": " + fault.name, [&] { return stage.run(fault.plant); }, 1);
}

TEST(PlantedFaults, OfMatrixKernelsAreNoticed) {
  for (const int64_t head_dim : {64, 128}) {
    // A stage for each list: what a fault writes into a neighbour's memory, as heads that are too long may, stays there.
    expect_all_noticed(fmt::format("head {}", head_dim), Stage(DType::kBFloat16, head_dim), kFaults);
    expect_all_noticed(fmt::format("head {}", head_dim), Stage(DType::kBFloat16, head_dim), kMatrixFaults);
    expect_all_noticed(fmt::format("causal, head {}", head_dim), Stage(DType::kBFloat16, head_dim, Problem::Kind::kCausal),
                       kCausalFaults);
  }
}

TEST(PlantedFaults, OfPlainKernelsAreNoticed) { expect_all_noticed("plain", Stage(DType::kFloat32, 20), kFaults); }

}  // namespace
}  // namespace longspan::test
