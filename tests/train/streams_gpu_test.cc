// The rows of a GPU's streams in a trace, on a GPU: what events force to happen in some order is shown in that order, and a run
// leaves a sound file.
#include <gtest/gtest.h>

#include <set>

#include "core/runtime/cuda.h"
#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "tests/train/trace_spans.h"
#include "train/rank_context.h"
#include "train/trace_file.h"

namespace longspan::test {
namespace {

constexpr int64_t kBytes = int64_t{64} << 20;

// Something to do on two streams: "attention" on the compute stream, a transfer on another.
struct TwoStreams {
  RankContext rank{DType::kFloat32, {.device = {.type = DeviceType::kCuda, .ordinal = 0}}, RankContext::Measure::kTime};
  std::shared_ptr<Stream> communication = make_cuda_stream(0, StreamPriority::kHigh);
  Tensor from = rank.context().zeros({kBytes}, DType::kUInt8), to = rank.context().zeros({kBytes}, DType::kUInt8),
         other = rank.context().zeros({kBytes}, DType::kUInt8);

  Stream& compute() { return rank.context().stream(); }
  void attention() {
    const TraceRange range(&rank.tracer(), TimeCategory::kCompute, "attention forward", {.hop = 0});
    rank.context().copy(from, to);
  }
  StreamSpan begin() {
    return rank.tracer().begin_on_stream(this, "communication stream", {.hop = 1, .bytes = kBytes}, communication->mark_time());
  }
  void transfer() { communication->copy(other.raw(), from.raw(), from.num_bytes()); }
  void end(StreamSpan span) {
    span.end = communication->mark_time();
    communication->synchronize();
    rank.tracer().keep(std::move(span));
  }
  // By way of the file, that of attention first.
  std::vector<Span> spans() {
    const auto events = rank.tracer().stop_recording();
    const RankTrace trace = {.rank = 0, .events = events, .num_lost = 0, .streams = rank.tracer().streams()};
    const Folder folder;
    const auto alone = make_self_communicator();
    const std::string path = folder / "trace.json";
    EXPECT_EQ(write_trace_file(rank.context().host(), *alone, path, trace_objects(trace, {{}, {}}, 0)), "");
    std::vector<Span> spans = spans_of(json::parse(read_file(path)));
    std::erase_if(spans, [](const Span& span) { return span.row_name.starts_with("host"); });
    std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.name < b.name; });
    return spans;
  }
};

TEST(GpuStreams, ATransferAroundAttentionIsShownAroundIt) {
  TwoStreams t;
  t.rank.tracer().start_recording(16);
  StreamSpan span = t.begin();
  t.transfer();
  t.compute().wait_for(t.communication->record());
  t.attention();
  t.communication->wait_for(t.compute().record());
  t.transfer();
  t.end(std::move(span));
  const std::vector<Span> spans = t.spans();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].row_name, "compute stream");
  EXPECT_EQ(spans[1].row_name, "communication stream");
  EXPECT_LT(spans[1].begin, spans[0].begin);
  EXPECT_GT(spans[1].end, spans[0].end);
}

TEST(GpuStreams, ATransferAfterAttentionIsShownAfterIt) {
  TwoStreams t;
  t.rank.tracer().start_recording(16);
  t.attention();
  t.communication->wait_for(t.compute().record());
  StreamSpan span = t.begin();
  t.transfer();
  t.end(std::move(span));
  const std::vector<Span> spans = t.spans();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_GE(spans[1].begin, spans[0].end - 0.002) << "microseconds, of rounding";
  EXPECT_GT(spans[1].end, spans[1].begin);
}

TEST(GpuStreams, ARunLeavesATrace) {
  const Folder folder;
  RunSpec spec;
  spec.output_directory = folder / "run";
  spec.model.hidden_size = 64;
  spec.model.num_layers = 2;
  spec.model.num_heads = 4;
  spec.model.num_kv_heads = 2;
  spec.model.head_dim = 16;
  spec.model.mlp_size = 128;
  spec.data.sources = {{.files = {folder.write("text", std::string(5000, 'x'))}}};
  spec.data.sequence_length = 768;
  spec.num_steps = 2;
  spec.trace.num_steps = 1;
  spec.tensorboard = RunSpec::TensorBoard::kOff;
  const auto alone = make_self_communicator();
  TrainObserver silent;
  train(spec, *alone, {.device = {.type = DeviceType::kCuda, .ordinal = 0}}, silent, [] { return false; });
  const auto spans = spans_of(json::parse(read_file(folder / "run/trace/steps_00000002_to_00000002.json")));
  expect_nested(spans);
  std::set<std::string> of_stream;
  for (const Span& span : spans) {
    if (span.row_name == "compute stream") of_stream.insert(span.name);
  }
  for (const char* name : {"step", "forward", "backward", "weight", "attention forward", "attention backward", "optimizer"}) {
    EXPECT_TRUE(of_stream.contains(name)) << name;
  }
}

}  // namespace
}  // namespace longspan::test
