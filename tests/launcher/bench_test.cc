// What `longspan bench` counts, how it times, and that every benchmark runs where the host cannot touch a tensor: on an emulated
// device, at tiny sizes. What it prints there as a rate says nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>

#include "attention/kernels/block_attention.h"
#include "core/kernels/backends.h"
#include "core/kernels/linear_algebra.h"
#include "launcher/attention_work.h"
#include "launcher/bench_attention.h"
#include "launcher/bench_elementwise.h"
#include "launcher/bench_gemm.h"
#include "launcher/bench_loss.h"
#include "launcher/bench_pipeline.h"
#include "launcher/bench_step.h"
#include "launcher/rank_device.h"
#include "launcher/run_benchmark.h"
#include "parallel/comm/backends.h"
#include "tests/support/emulated_device.h"

namespace longspan::test {
namespace {

using Kind = BenchAttentionOptions::Kind;

constexpr double kShort = 1e-9;  // seconds: as few samples as there may be

BenchMachine emulated_machine() {
  const Context::Options options = emulated_device_options(DType::kFloat32);
  BenchMachine machine;
  machine.resources.device = options.device;
  machine.resources.memory = options.memory;
  machine.resources.kernels = options.kernels;
  machine.resources.stream = options.stream;
  machine.resources.host_memory = options.host_memory;
  machine.name = "an emulated device";
  machine.square = 16;
  machine.copy_bytes = 4096;
  machine.width = 128;
  return machine;
}

ModelSpec tiny_model() {
  ModelSpec model;
  model.vocabulary_size = 29;
  model.hidden_size = 24;
  model.num_layers = 2;
  model.num_heads = 4;
  model.num_kv_heads = 2;
  model.head_dim = 64;
  model.mlp_size = 40;
  return model;
}

// The lines that end in a share, less that: each must have a rate in this unit, and a share, that are numbers above 0.
std::vector<std::string> cases_of(const std::string& text, const std::string& unit) {
  std::vector<std::string> cases;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.find(" " + unit), percent = line.find('%');
    if (at == std::string::npos || percent == std::string::npos) continue;
    const double rate = std::stod(line.substr(line.rfind(' ', at - 1)));
    const double share = std::stod(line.substr(line.rfind(' ', percent - 1)));
    EXPECT_TRUE(rate >= 0 && std::isfinite(rate)) << line;
    EXPECT_TRUE(share >= 0 && std::isfinite(share)) << line;
    cases.push_back(line.substr(0, at));
  }
  return cases;
}

TEST(Bench, OnADeviceASampleIsManyCallsAndTheMedianCounts) {
  const Context context = emulated_device_context(DType::kFloat32);
  int num_calls = 0;
  Stopwatch watch(context, [&] { ++num_calls; });
  watch.sample();
  EXPECT_GT(num_calls, 2 + 1);  // of no length: two beforehand, and many
  EXPECT_LE(num_calls, 1002);
  std::vector<double> samples = {watch.seconds()};
  for (int i = 0; i < 4; ++i) samples.push_back(watch.sample());
  EXPECT_LE(num_calls, 5002);
  std::sort(samples.begin(), samples.end());
  EXPECT_EQ(watch.seconds(), samples[2]);
}

TEST(Bench, OnACpuASampleIsACallAndTheFastestCounts) {
  const Context context(Context::Options{});
  int num_calls = 0;
  Stopwatch watch(context, [&] { ++num_calls; });
  std::vector<double> samples;
  for (int i = 0; i < 5; ++i) samples.push_back(watch.sample());
  EXPECT_EQ(num_calls, 5);
  EXPECT_EQ(watch.seconds(), *std::min_element(samples.begin(), samples.end()));
}

TEST(Bench, CountsWhatAttentionSees) {
  const BenchMachine machine;
  const AttentionWorkShape shape = {.num_tokens = 10, .num_heads = 3, .num_kv_heads = 1, .head_dim = 8};
  std::vector<IndexInterval> full(10, {0, 10});
  EXPECT_DOUBLE_EQ(AttentionWork(machine.context(DType::kFloat32), shape, full).forward_gflop(), 4e-9 * 100 * 3 * 8);
  EXPECT_DOUBLE_EQ(AttentionWork(machine.context(DType::kFloat32), shape, causal_tokens(10)).forward_gflop(), 4e-9 * 55 * 3 * 8);
}

// Products and pairs that a step does.
struct Counts {
  double product_flop = 0, forward_pairs = 0, backward_pairs = 0;
};

class CountedProducts final : public LinearAlgebra {
 public:
  CountedProducts(std::shared_ptr<const KernelSet> inner, Counts& counts) : inner_(std::move(inner)), counts_(counts) {}

 private:
  void do_gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
               const Tensor& c) const override {
    const int64_t inner = options.a == Transpose::kYes ? a.size(0) : a.size(1);
    counts_.product_flop += 2 * static_cast<double>(c.num_elements()) * static_cast<double>(inner);
    inner_->get<LinearAlgebra>().gemm(context, options, a, b, c);
  }
  std::shared_ptr<const KernelSet> inner_;
  Counts& counts_;
};

class CountedAttention final : public BlockAttention {
 public:
  CountedAttention(std::shared_ptr<const KernelSet> inner, Counts& counts) : inner_(std::move(inner)), counts_(counts) {}

 private:
  static double pairs_of(const AttentionBlock& block) {
    return static_cast<double>(block.visible->num_pairs()) * static_cast<double>(block.q.size(1));
  }
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    counts_.forward_pairs += pairs_of(block);
    inner_->get<BlockAttention>().forward(context, block, state);
  }
  void do_clear(const Context& context, const Tensor& lse) const override {
    inner_->get<BlockAttention>().clear(context, lse);
  }
  void do_delta(const Context& context, const Tensor& output, const Tensor& doutput, const Tensor& delta) const override {
    inner_->get<BlockAttention>().delta(context, output, doutput, delta);
  }
  void do_backward(const Context& context, const AttentionBlock& block, const AttentionGradient& gradient) const override {
    counts_.backward_pairs += pairs_of(block);
    inner_->get<BlockAttention>().backward(context, block, gradient);
  }
  std::shared_ptr<const KernelSet> inner_;
  Counts& counts_;
};

TEST(Bench, CountsTheOperationsThatAStepDoes) {
  auto plain = std::make_shared<KernelSet>("cpu");
  add_cpu_kernels(*plain);
  add_cpu_attention(*plain);
  Counts counts;
  auto counted = std::make_shared<KernelSet>(*plain);
  counted->add<LinearAlgebra>(std::make_shared<CountedProducts>(plain, counts));
  counted->add<BlockAttention>(std::make_shared<CountedAttention>(plain, counts));
  BenchStepOptions options{.min_seconds = kShort};
  options.machine.resources.kernels = counted;
  options.run.model = tiny_model();
  options.run.model.head_dim = 8;
  options.run.data.sequence_length = 21;
  options.run.global_batch_sequences = 2;
  options.run.loss_tile_tokens = 16;
  options.dtypes = {DType::kFloat32};
  std::ostringstream out;
  bench_step(options, out);
  constexpr double kSteps = 3, kHeadDim = 8;
  EXPECT_EQ(counts.forward_pairs, counts.backward_pairs);
  const double counted_flop = counts.product_flop + 3 * 4 * kHeadDim * counts.forward_pairs;
  EXPECT_DOUBLE_EQ(counted_flop, kSteps * model_flop_of_step(options.run.model, 2, 21));
}

TEST(Bench, KnowsDataSheets) {
  EXPECT_EQ(datasheet_peak("NVIDIA H100 80GB HBM3"), 989.5e12);
  EXPECT_EQ(datasheet_peak("NVIDIA H100 PCIe"), 756e12);
  EXPECT_EQ(datasheet_peak("NVIDIA H200"), 989.5e12);
  EXPECT_EQ(datasheet_peak("NVIDIA GH200 480GB"), 989.5e12);
  EXPECT_EQ(datasheet_peak("NVIDIA H100 80GB HBM3 MIG 1g.10gb"), 0);
  EXPECT_EQ(datasheet_peak("NVIDIA A100-SXM4-80GB"), 312e12);
  EXPECT_EQ(datasheet_peak("NVIDIA GeForce RTX 4090"), 0);
}

TEST(Bench, AttentionOfADeviceIsMeasuredFrom4kTo128kTokens) {
  std::map<std::pair<int64_t, Kind>, std::set<int64_t>> lengths;
  for (const auto& one : BenchAttentionOptions::default_cases(DeviceType::kCuda)) {
    EXPECT_EQ(one.dtype, DType::kBFloat16);
    EXPECT_NE(one.kind, Kind::kOneHead);
    lengths[{one.head_dim, one.kind}].insert(one.num_tokens);
  }
  const std::set<int64_t> all = {4096, 8192, 16384, 32768, 65536, 131072};
  for (const int64_t head_dim : {64, 128}) {
    EXPECT_EQ((lengths[{head_dim, Kind::kCausal}]), all);
    EXPECT_EQ((lengths[{head_dim, Kind::kFull}]), all);
    EXPECT_EQ((lengths[{head_dim, Kind::kDocuments}]).size(), 1u);
  }
}

TEST(BenchOnADevice, MeasuresAttention) {
  BenchAttentionOptions options{.machine = emulated_machine(), .min_seconds = kShort};
  for (const Kind kind : {Kind::kCausal, Kind::kFull, Kind::kDocuments, Kind::kWindow, Kind::kGroups}) {
    options.cases.push_back({DType::kBFloat16, 64, 70, kind});
  }
  options.cases.push_back({DType::kFloat32, 64, 33, Kind::kDocuments});
  std::ostringstream out;
  bench_attention(options, out);
  EXPECT_EQ(cases_of(out.str(), "TFLOP/s").size(), 2 * options.cases.size()) << out.str();
  options.cases = {{DType::kBFloat16, 128, 32, Kind::kOneHead}};
  EXPECT_THROW(bench_attention(options, out), Error);
}

TEST(BenchOnADevice, MeasuresProducts) {
  BenchGemmOptions options{.machine = emulated_machine(), .min_seconds = kShort, .num_tokens = 5, .hidden_sizes = {8},
                           .vocabulary_size = 11, .head_tokens = 3};
  std::ostringstream out;
  bench_gemm(options, out);
  EXPECT_EQ(cases_of(out.str(), "TFLOP/s").size(), 2u * 4 * 3) << out.str();
}

TEST(BenchOnADevice, MeasuresWhatMemoryBounds) {
  BenchElementwiseOptions options{.machine = emulated_machine(), .hidden_size = 16, .num_elements = 64, .vocabulary_size = 9,
                                  .loss_tokens = 4, .min_seconds = kShort, .dtypes = {DType::kBFloat16}};
  std::ostringstream out;
  bench_elementwise(options, out);
  const std::vector<std::string> cases = cases_of(out.str(), "GB/s");
  EXPECT_EQ(cases.size(), 21u) << out.str();
  for (const std::string& line : cases) EXPECT_NE(line.find("device"), std::string::npos) << line;
}

TEST(BenchOnADevice, MeasuresTheLoss) {
  BenchLossOptions options{.machine = emulated_machine(), .min_seconds = kShort, .hidden_size = 8, .tile_tokens = {3, 5},
                           .vocabulary_sizes = {11}};
  std::ostringstream out;
  bench_loss(options, out);
  EXPECT_EQ(cases_of(out.str(), "TFLOP/s").size(), 4u) << out.str();
}

TEST(BenchOnADevice, MeasuresAStep) {
  BenchStepOptions options{.machine = emulated_machine(), .min_seconds = kShort};
  options.machine.name = "NVIDIA H100 80GB HBM3, emulated";
  options.run.model = tiny_model();
  options.run.data.sequence_length = 21;
  std::ostringstream out;
  bench_step(options, out);
  EXPECT_EQ(cases_of(out.str(), "TFLOP/s").size(), 2u) << out.str();
  EXPECT_NE(out.str().find("of 989.5 in its data sheet\n"), std::string::npos) << out.str();
}

// How long it takes is the machine's affair; what is kept is not.
TEST(BenchOnACpu, MeasuresPipelines) {
  std::ostringstream out;
  bench_pipeline({.ranks = {2}, .sequence_chunks = {1, 4}, .layer_seconds = 1e-4, .repetitions = 1}, out);
  const std::string text = out.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 4 + 2 + 2) << text;
  EXPECT_NE(text.find("1F1B         2 ranks   4 microbatches  bubble"), std::string::npos) << text;
  EXPECT_NE(text.find("stashes   2.00 MiB predicted   2.00 MiB measured"), std::string::npos) << "one whole sequence: " << text;
  EXPECT_NE(text.find("1F1B, 2 sequences in  4 chunks"), std::string::npos) << text;
  EXPECT_THROW(bench_pipeline({.ranks = {65}}, out), Error);
}

TEST(BenchOnACpu, StepTakesItsModelFromTheConfiguration) {
  config::RunConfig config;
  config.set_device(config::RunConfig::CPU);
  config.set_precision(config::Precision::FP32);
  config::Model& model = *config.mutable_model();
  model.set_hidden_size(16);
  model.set_num_layers(1);
  model.set_num_heads(2);
  model.set_vocabulary_size(40);
  config.mutable_data()->set_sequence_length(24);
  config.mutable_training()->set_micro_batch_sequences(3);
  std::ostringstream out;
  const auto alone = make_self_communicator();
  EXPECT_EQ(run_benchmark("step", config, {}, *alone, out), 0);
  EXPECT_NE(out.str().find("1 layers of 16, 0.0 M parameters, 3 x 24 tokens"), std::string::npos) << out.str();
  EXPECT_EQ(cases_of(out.str(), "GFLOP/s a core").size(), 1u) << out.str();
  model.set_head_dim(3);
  EXPECT_THROW(run_benchmark("step", config, {}, *alone, out), Error);
}

}  // namespace
}  // namespace longspan::test
