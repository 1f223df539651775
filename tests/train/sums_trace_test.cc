// Sums of gradients on devices, in virtual time: a hop for each piece of backward compute after the sums have begun.
#include <gtest/gtest.h>

#include "core/kernels/backends.h"
#include "parallel/comm/nccl/nccl_communicator.h"
#include "parallel/data/shared_state.h"
#include "parallel/pipeline/executor.h"
#include "parallel/pipeline/reductions.h"
#include "tests/support/folder.h"
#include "tests/train/trace_spans.h"
#include "tests/train/virtual_library.h"
#include "train/trace_file.h"

namespace longspan::test {
namespace {

constexpr int kBlocks = 5;
constexpr int64_t kComputeNs = 10'000'000, kTransferNs = 3'000'000, kElements = 60;

class SlowBlock final : public StageBlock {
 public:
  SlowBlock(VirtualDevice& device, const Parameter& weight) : device_(device), weight_(weight) {}
  Tensor forward(Context&, int, const Tensor&, std::any* stash) override {
    *stash = 0;
    return {};
  }
  Tensor backward_input(Context&, int, const Tensor&, std::any&) override {
    device_.compute().work(kComputeNs);
    return {};
  }
  void backward_weight(Context&, std::any&) override {
    std::fill_n(weight_.gradient.data<double>(), kElements, 1.0);
    device_.compute().work(kComputeNs);
  }

 private:
  VirtualDevice& device_;
  const Parameter& weight_;
};

enum class Begin { kWithBackward, kAtTheEnd };

class Sums final : public GradientSums {
 public:
  Sums(Context& context, Communicator& replicas, ParameterSet& parameters, Begin begin)
      : sums_(context, replicas, parameters), parameters_(parameters), begin_(begin) {}
  void start(const Action& action) override {
    buckets_.push_back(parameters_.buckets().at(static_cast<size_t>(action.block)));
    if (begin_ == Begin::kWithBackward) sums_.start(buckets_.back());
  }
  void finish() override {
    for (const Bucket& bucket : buckets_) {
      if (begin_ == Begin::kAtTheEnd) sums_.start(bucket);
    }
    sums_.finish();
  }
  void after_compute() override { sums_.after_compute(); }

 private:
  BucketSums sums_;
  ParameterSet& parameters_;
  Begin begin_;
  std::vector<Bucket> buckets_;
};

// Of one rank.
struct Hops {
  int hidden = 0, exposed = 0;
};

void backward(Context& context, VirtualDevice& device, Communicator& replicas, bool shares, Begin begin) {
  ParameterSet parameters;
  for (int b = 0; b < kBlocks; ++b) {
    parameters.begin_block(b);
    parameters.add(fmt::format("weight {}", b), Shape{kElements}, Initialization::kZeros);
  }
  StateShare share{.bucket_elements = 1};
  if (shares) {
    share.rank = replicas.rank();
    share.num_ranks = replicas.size();
  }
  parameters.materialize(context, ParameterSet::Purpose::kTraining, share);
  Stage stage;
  for (const auto& p : parameters.all()) stage.push_back(std::make_unique<SlowBlock>(device, *p));
  PipelineShape shape{.placement = single_rank_placement(kBlocks)};
  for (int b = 0; b < kBlocks; ++b) shape.reductions.buckets.push_back({b, b + 1});
  Sums sums(context, replicas, parameters, begin);
  execute(context, with_reductions(single_stage_program(1, kBlocks), shape), stage, sums);
  for (const ParameterSet::Part& part : parameters.parts()) EXPECT_EQ(part.gradient.data<double>()[0], replicas.size());
}

Hops hops_of(const std::vector<Span>& spans) {
  Hops hops;
  for (const Span& hop : spans) {
    if (hop.rank != 0 || hop.name != kReductionTransfer || !hop.row_name.starts_with("communication stream")) continue;
    const bool under = std::any_of(spans.begin(), spans.end(), [&](const Span& compute) {
      return compute.rank == 0 && (compute.name == "backward" || compute.name == "weight") &&
             compute.row_name.starts_with("compute stream") && hop.begin < compute.end && compute.begin < hop.end;
    });
    ++(under ? hops.hidden : hops.exposed);
  }
  return hops;
}

Hops traced(int num_ranks, bool shares, Begin begin) {
  const Folder folder;
  const std::string path = folder / "trace.json";
  run_in_process(num_ranks, [&](Communicator& threads) {
    VirtualDevice device;
    const auto library = std::make_shared<VirtualLibrary>(threads, device, TransferPlan{.ns = kTransferNs});
    const auto replicas = make_nccl_communicator(threads, library, std::make_shared<VirtualClock>(device));
    Context::Options options;
    options.device.type = DeviceType::kCuda;
    options.compute_dtype = DType::kFloat64;
    options.memory = options.host_memory = std::make_shared<HostResource>();
    auto kernels = std::make_shared<KernelSet>("reference");
    add_reference_kernels(*kernels);
    options.kernels = kernels;
    options.stream = device.stream();
    options.tracer =
        std::make_shared<Tracer>(Tracer::Options{.memory = nullptr, .clock = [&device] { return device.now_ns(); }});
    Context context(options);
    context.tracer()->start_recording(4096);
    backward(context, device, *replicas, shares, begin);
    const auto events = context.tracer()->stop_recording();
    const RankTrace trace = {.rank = threads.rank(), .events = events, .num_lost = 0, .streams = context.tracer()->streams()};
    EXPECT_EQ(write_trace_file(context.host(), *replicas, path, trace_objects(trace, {{}, {}}, 0)), "");
  });
  return hops_of(spans_of(json::parse(read_file(path))));
}

// The first bucket's sums begin after the last block; four blocks, of B and W, are left. Those of the last bucket have nothing
// left.
TEST(SumsTrace, HasHopsUnderBackward) {
  const Hops all = traced(2, false, Begin::kWithBackward), shared = traced(3, true, Begin::kWithBackward);
  for (const Hops& hops : {all, shared}) {
    EXPECT_EQ(hops.hidden, 2 * (kBlocks - 1));
    EXPECT_EQ(hops.exposed, 2);
  }
}

TEST(SumsTrace, OfSumsAtTheEndIsRecognised) {
  const Hops hops = traced(2, false, Begin::kAtTheEnd);
  EXPECT_EQ(hops.hidden, 0);
  EXPECT_EQ(hops.exposed, 2 * kBlocks);
}

}  // namespace
}  // namespace longspan::test
