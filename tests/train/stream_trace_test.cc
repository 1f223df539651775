// The trace of a whole step on devices: a row for each stream, and every hop of the ring under the attention before it. Devices
// and NCCL are played in virtual time, so what overlaps follows from the order in which streams were given their work.
#include <gtest/gtest.h>

#include "attention/kernels/block_attention.h"
#include "attention/ring_attention.h"
#include "core/kernels/backends.h"
#include "parallel/comm/nccl/nccl_communicator.h"
#include "parallel/comm/ring_pass.h"
#include "parallel/pipeline/executor.h"
#include "tests/support/folder.h"
#include "tests/support/sequences.h"
#include "tests/train/trace_spans.h"
#include "tests/train/virtual_library.h"
#include "train/batch.h"
#include "train/trace_file.h"

namespace longspan::test {
namespace {

constexpr int kRanks = 3;
constexpr int64_t kForwardNs = 10'000'000, kBackwardNs = 25'000'000, kTransferNs = 3'000'000;

struct Plan {
  enum class Posts { kBeforeAttention, kAfterAttention };
  Posts posts = Posts::kBeforeAttention;
  TransferPlan transfers = {.ns = kTransferNs, .on_compute_stream = false};
  bool records = true;
};

// Attention of a CPU that takes its time on the device.
class SlowAttention final : public BlockAttention {
 public:
  SlowAttention(std::shared_ptr<const KernelSet> inner, VirtualDevice& device) : inner_(std::move(inner)), device_(device) {}

 private:
  const BlockAttention& inner() const { return inner_->get<BlockAttention>(); }
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    inner().forward(context, block, state);
    device_.compute().work(kForwardNs);
  }
  void do_clear(const Context& context, const Tensor& lse) const override { inner().clear(context, lse); }
  void do_delta(const Context& context, const Tensor& output, const Tensor& doutput, const Tensor& delta) const override {
    inner().delta(context, output, doutput, delta);
  }
  void do_backward(const Context& context, const AttentionBlock& block, const AttentionGradient& g) const override {
    inner().backward(context, block, g);
    device_.compute().work(kBackwardNs);
  }

  std::shared_ptr<const KernelSet> inner_;
  VirtualDevice& device_;
};

std::shared_ptr<const KernelSet> slow_kernels(VirtualDevice& device) {
  auto plain = std::make_shared<KernelSet>("plain"), slow = std::make_shared<KernelSet>("slow");
  add_reference_attention(*plain);
  add_reference_kernels(*slow);
  slow->add<BlockAttention>(std::make_shared<SlowAttention>(plain, device));
  return slow;
}

// A ring whose send_recvs start when they are waited for.
class LatePoster final : public Communicator {
 public:
  explicit LatePoster(Communicator& inner)
      : Communicator(inner.rank(), inner.size(), inner.name(), inner.timeout()), inner_(inner) {}

 private:
  class LateWork final : public Work::State {
   public:
    LateWork(Communicator& inner, Stream& stream, SendRecv message, const TraceEvent& range)
        : inner_(inner), stream_(stream), message_(std::move(message)), range_(range) {}
    bool test() override { return false; }
    void wait() override {
      const TraceRange range(stream_.tracer().get(), TimeCategory::kCommunication, range_.name, range_.args);
      inner_.send_recv(stream_, message_).wait();
    }

   private:
    Communicator& inner_;
    Stream& stream_;
    SendRecv message_;
    TraceEvent range_;  // in which it should have been posted
  };

  void do_all_reduce(Stream& stream, const Tensor& data, ReduceOp op) override { inner_.all_reduce(stream, data, op); }
  void do_broadcast(Stream& stream, const Tensor& data, int root) override { inner_.broadcast(stream, data, root); }
  void do_all_gather(Stream& stream, const Tensor& in, const Tensor& out) override { inner_.all_gather(stream, in, out); }
  Work do_send_recv(Stream& stream, const SendRecv& message) override {
    const TraceEvent here = stream.tracer()->begin_transfer({});
    stream.tracer()->end_transfer(here);
    return Work(std::make_shared<LateWork>(inner_, stream, message, here));
  }
  void do_barrier(Stream& stream) override { inner_.barrier(stream); }
  std::unique_ptr<Communicator> do_split(int color, int key, const std::string& name) override {
    return inner_.split(color, key, name);
  }

  Communicator& inner_;
};

ModelSpec small_model() {
  ModelSpec spec;
  spec.vocabulary_size = 29;
  spec.hidden_size = 24;
  spec.num_layers = 2;
  spec.num_heads = 4;
  spec.num_kv_heads = 2;
  spec.head_dim = 6;
  spec.mlp_size = 40;
  return spec;
}

// The loss of this rank's tokens.
double one_step(Context& context, Communicator& ring) {
  Decoder decoder(small_model(), ring, 16);
  decoder.parameters().materialize(context, ParameterSet::Purpose::kTraining);
  decoder.parameters().initialize(context, 7, 0.2);
  const ContextShare share = {.layout = LayoutType::kZigzag, .num_ranks = ring.size(), .rank = ring.rank()};
  decoder.microbatches().push_back(make_microbatch(context, small_model(), share, {random_sequence(3, 48, 1, 29)}));
  decoder.microbatches()[0].gradient_scale = 1.0 / 47;
  const int num_blocks = static_cast<int>(decoder.stage().size());
  {
    const TraceRange range(context.tracer(), TimeCategory::kNone, "step", {.step = 1});
    execute(context, single_stage_program(1, num_blocks), decoder.stage(), [&] {
      ring.all_reduce(context.stream(), decoder.parameters().all()[0]->gradient, ReduceOp::kSum);
    });
  }
  return sum_of_losses(context, decoder.microbatches()[0]);
}

struct Outcome {
  std::vector<Span> spans;
  std::vector<double> losses = std::vector<double>(kRanks);
};

Outcome traced_step(const Plan& plan) {
  const Folder folder;
  const std::string path = folder / "trace.json";
  Outcome outcome;
  run_in_process(kRanks, [&](Communicator& threads) {
    VirtualDevice device;
    const auto library = std::make_shared<VirtualLibrary>(threads, device, plan.transfers);
    const auto ring = make_nccl_communicator(threads, library, std::make_shared<VirtualClock>(device));
    LatePoster late(*ring);
    Context::Options options;
    options.device.type = DeviceType::kCuda;
    options.compute_dtype = DType::kFloat64;
    options.memory = options.host_memory = std::make_shared<HostResource>();
    options.kernels = slow_kernels(device);
    options.stream = device.stream();
    options.tracer =
        std::make_shared<Tracer>(Tracer::Options{.memory = nullptr, .clock = [&device] { return device.now_ns(); }});
    Context context(options);
    if (plan.records) context.tracer()->start_recording(4096);
    const auto rank = static_cast<size_t>(threads.rank());
    outcome.losses[rank] = one_step(context, plan.posts == Plan::Posts::kAfterAttention ? late : *ring);
    if (!plan.records) {
      EXPECT_EQ(device.num_marks(), 0);
      return;
    }
    const auto events = context.tracer()->stop_recording();
    EXPECT_EQ(context.tracer()->num_lost(), 0u);
    const RankTrace trace = {.rank = threads.rank(), .events = events, .num_lost = 0, .streams = context.tracer()->streams()};
    EXPECT_EQ(write_trace_file(context.host(), *ring, path, trace_objects(trace, {{}, {}}, 0)), "");
  });
  if (plan.records) outcome.spans = spans_of(json::parse(read_file(path)));
  return outcome;
}

std::vector<Span> of_row(const std::vector<Span>& spans, const std::string& row) {
  std::vector<Span> found;
  std::copy_if(spans.begin(), spans.end(), std::back_inserter(found),
               [&](const Span& span) { return span.row_name.starts_with(row); });
  return found;
}

// The pass of a block, on the compute stream, in which a span of a stream began.
const Span* pass_of(const Span& span, const std::vector<Span>& compute) {
  const auto around = std::find_if(compute.begin(), compute.end(), [&](const Span& pass) {
    return (pass.name == "forward" || pass.name == "backward") && pass.rank == span.rank && pass.begin <= span.begin &&
           span.begin < pass.end;
  });
  return around == compute.end() ? nullptr : &*around;
}

struct Hops {
  int hidden = 0, exposed = 0;
};

// How many transfers of keys and values lie under the attention of the hop before theirs: they begin before it ends, and end
// later than it begins.
Hops hops_under(const std::vector<Span>& spans, const char* attention) {
  const std::vector<Span> compute = of_row(spans, "compute stream"), communication = of_row(spans, "communication stream");
  Hops hops;
  for (const Span& hop : compute) {
    if (hop.name != attention) continue;
    for (const Span& transfer : communication) {
      if (transfer.name != kRingTransfer || transfer.arg("hop") != hop.arg("hop") + 1) continue;
      if (pass_of(transfer, compute) == nullptr || pass_of(transfer, compute) != pass_of(hop, compute)) continue;
      const bool under = transfer.begin < hop.end && transfer.end > hop.begin;
      ++(under ? hops.hidden : hops.exposed);
    }
  }
  return hops;
}

// Keys and values of every hop but the first, in each layer of each rank.
constexpr int kTransfers = kRanks * 2 * 2 * (kRanks - 1);

void expect_hops(const std::vector<Span>& spans, const Hops& want) {
  for (const char* attention : {kAttentionForward, kAttentionBackward}) {
    const Hops got = hops_under(spans, attention);
    EXPECT_EQ(got.hidden, want.hidden) << attention;
    EXPECT_EQ(got.exposed, want.exposed) << attention;
  }
}

TEST(StreamTrace, ShowsEachHopUnderTheAttentionBeforeIt) {
  const Outcome outcome = traced_step({});
  expect_hops(outcome.spans, {.hidden = kTransfers, .exposed = 0});
  expect_nested(outcome.spans);
  for (const Span& span : of_row(outcome.spans, "communication stream")) {
    EXPECT_EQ(span.arg("step"), 1);
    EXPECT_GT(span.arg("bytes"), 0) << span.name;
    if (span.name != kRingTransfer) continue;
    EXPECT_EQ(span.arg("to"), (span.rank + 1) % kRanks);
    EXPECT_EQ(span.arg("from"), (span.rank + kRanks - 1) % kRanks);
    EXPECT_EQ(span.arg("bytes"), 48 / kRanks * 2 * 6 * 8);
    EXPECT_NEAR(span.end - span.begin, 1e-3 * kTransferNs, 100) << "microseconds";
  }
}

TEST(StreamTrace, OfALatePosterIsRecognised) {
  Plan plan;
  plan.posts = Plan::Posts::kAfterAttention;
  const Outcome late = traced_step(plan);
  expect_hops(late.spans, {.hidden = 0, .exposed = kTransfers});
  EXPECT_EQ(late.losses, traced_step({}).losses);
}

TEST(StreamTrace, OfATransferInTheWayOfComputeIsRecognised) {
  Plan plan;
  plan.transfers.on_compute_stream = true;
  expect_hops(traced_step(plan).spans, {.hidden = 0, .exposed = kTransfers});
}

TEST(StreamTrace, ChangesNothingAndCostsNothingWhereItIsNotRecorded) {
  Plan plan;
  plan.records = false;
  EXPECT_EQ(traced_step(plan).losses, traced_step({}).losses);
}

// What attention cannot hide is a gap of the compute stream, as long as the transfers are longer.
TEST(StreamTrace, ShowsHowLongComputeStoodStill) {
  Plan plan;
  plan.transfers.ns = 2 * kForwardNs;
  const Outcome outcome = traced_step(plan);
  const std::vector<Span> compute = of_row(outcome.spans, "compute stream");
  int gaps = 0;
  for (const Span& hop : compute) {
    if (hop.name != kAttentionForward || hop.arg("hop") == 0) continue;
    for (const Span& before : compute) {
      if (before.name != hop.name || before.rank != hop.rank || before.arg("layer") != hop.arg("layer")) continue;
      if (before.arg("hop") != hop.arg("hop") - 1) continue;
      ++gaps;
      EXPECT_NEAR(hop.begin - before.end, 1e-3 * (2 * 2 * kForwardNs - kForwardNs), 200);
    }
  }
  EXPECT_EQ(gaps, kRanks * 2 * (kRanks - 1));
}

TEST(StreamTrace, HasTheStreamsAboveTheHost) {
  const Outcome outcome = traced_step({});
  std::map<std::string, std::string> row_of;  // by span, of streams; others have "host: "
  for (const Span& span : outcome.spans) {
    if (span.rank == 0 && !span.row_name.starts_with("host: ")) row_of[span.name] = span.row_name;
  }
  const std::string communication = "communication stream, group 'world', rank 0 of 3";
  EXPECT_EQ(row_of, (std::map<std::string, std::string>{{"step", "compute stream"},
                                                        {"forward", "compute stream"},
                                                        {"backward", "compute stream"},
                                                        {"weight", "compute stream"},
                                                        {"attention forward", "compute stream"},
                                                        {"attention backward", "compute stream"},
                                                        {"add gradients", "compute stream"},
                                                        {"ring transfer", communication},
                                                        {"gradient transfer", communication},
                                                        {"all_reduce", communication}}));
  std::map<std::string, std::string> on_host;
  for (const Span& span : outcome.spans) {
    if (span.rank == 0 && span.row_name.starts_with("host: ")) on_host[span.name] = span.row_name;
  }
  EXPECT_EQ(on_host["attention forward"], "host: compute");
  EXPECT_EQ(on_host["wait"], "host: communication");
}

}  // namespace
}  // namespace longspan::test
