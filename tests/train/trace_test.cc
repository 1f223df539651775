// Where a run's time goes: the parts of a step add up, and its trace shows each hop of the ring under the compute
// before it.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "attention/ring_attention.h"
#include "parallel/comm/backends.h"
#include "parallel/comm/ring_pass.h"
#include "parallel/data/ring_reduction.h"
#include "tests/support/folder.h"
#include "tests/train/trace_spans.h"
#include "train/trace_file.h"
#include "train/train.h"

namespace longspan {
namespace {

using nlohmann::json;
using test::Span;
using test::expect_nested;
using test::spans_of;

RunSpec traced_run(const test::Folder& folder, int num_ranks) {
  RunSpec spec;
  spec.output_directory = folder / "run";
  spec.model.hidden_size = 64;
  spec.model.num_layers = 2;
  spec.model.num_heads = 4;
  spec.model.num_kv_heads = 2;
  spec.model.head_dim = 16;
  spec.model.mlp_size = 128;
  spec.data.sources = {{.files = {folder.write("text", std::string(20000, 'x'))}}};
  spec.data.sequence_length = 768;
  spec.evaluation.data = spec.data;
  spec.evaluation.interval_steps = 2;
  spec.evaluation.max_sequences = 1;
  spec.checkpoint.interval_steps = 3;
  spec.mesh.context = num_ranks;
  spec.num_steps = 4;
  spec.trace.num_steps = 2;
  return spec;
}

void run(const RunSpec& spec, int num_ranks, TrainObserver& of_rank_0) {
  run_in_process(num_ranks, [&](Communicator& world) {
    TrainObserver silent;
    train(spec, world, {}, world.rank() == 0 ? of_rank_0 : silent, [] { return false; });
  });
}

std::vector<json> lines_of(const std::string& path) {
  std::vector<json> lines;
  std::istringstream text(test::read_file(path));
  for (std::string line; std::getline(text, line);) lines.push_back(json::parse(line));
  return lines;
}

TEST(Breakdown, PartsAddUpToTheStepOnTwoRanks) {
  const test::Folder folder;
  RunSpec spec = traced_run(folder, 2);
  spec.model.mlp_size = 1024;  // so that the optimizer has its share, too
  spec.data.sequence_length = 384;
  TrainObserver silent;
  run(spec, 2, silent);
  const auto lines = lines_of(folder / "run/metrics.jsonl");
  ASSERT_EQ(lines.size(), 4u);
  int complete = 0;
  for (const json& line : lines) {
    const auto seconds = [&](const char* name) { return line.at(name).get<double>(); };
    const double step = seconds("step_seconds");
    const double parts =
        seconds("compute_seconds") + seconds("communication_exposed_seconds") + seconds("data_seconds");
    complete += std::abs(parts - step) <= 0.02 * step;
    EXPECT_NEAR(parts + seconds("unaccounted_seconds"), step, 1e-3 * step);
    EXPECT_GT(seconds("compute_seconds"), 0);
    EXPECT_GT(seconds("communication_exposed_seconds"), seconds("exposed_wait_seconds")) << "reductions wait, too";
    EXPECT_GT(seconds("communication_hidden_seconds"), 0);
    EXPECT_LT(seconds("communication_hidden_seconds"), step);
    EXPECT_LE(seconds("compute_seconds_min"), seconds("compute_seconds") * 1.0001);
    EXPECT_GE(seconds("compute_seconds_max"), seconds("compute_seconds") * 0.9999);
    const int64_t number = line.at("step").get<int64_t>();
    // Between the step before and this one.
    EXPECT_EQ(seconds("evaluation_seconds") > 0, number % 2 == 1 && number > 1) << number;
    EXPECT_EQ(seconds("checkpoint_seconds") > 0, number == 4) << number;
  }
  // What no range covers is missing in every step; that the machine had other work, in one or another.
  EXPECT_GE(complete, 2);
}

// The pass of a block in which a span of a step began; null in an evaluation.
const Span* pass_of(const Span& span, const std::vector<Span>& spans) {
  const auto around = [&](auto is_one) {
    return std::find_if(spans.begin(), spans.end(), [&](const Span& pass) {
      return is_one(pass.name) && pass.rank == span.rank && pass.begin <= span.begin && span.begin < pass.end;
    });
  };
  if (around([](const std::string& name) { return name == "evaluation"; }) != spans.end()) return nullptr;
  const auto pass = around([](const std::string& name) { return name == "forward" || name == "backward"; });
  return pass == spans.end() ? nullptr : &*pass;
}

// How many transfers of a trace lie where they should: posted before the compute of the hop before theirs, and under
// way when it begins. `complaints` names the others.
int hidden_hops(const std::vector<Span>& spans, const std::string& compute, std::string& complaints) {
  int hidden = 0;
  for (const Span& hop : spans) {
    const Span* pass = hop.name == compute ? pass_of(hop, spans) : nullptr;
    if (!pass) continue;
    for (const Span& transfer : spans) {
      if (transfer.name != kRingTransfer || transfer.arg("bytes") < 0) continue;
      if (transfer.arg("hop") != hop.arg("hop") + 1 || pass_of(transfer, spans) != pass) continue;
      if (transfer.begin <= hop.begin && transfer.end > hop.begin) {
        ++hidden;
      } else {
        complaints += fmt::format("{} of hop {} at {} to {}: the transfer of the next is at {} to {}\n", compute,
                                  hop.arg("hop"), hop.begin, hop.end, transfer.begin, transfer.end);
      }
    }
  }
  return hidden;
}

struct KeepNotes final : TrainObserver {
  void on_note(const std::string& text) override { notes += text + "\n"; }
  std::string notes;
};

TEST(Trace, ShowsEachHopUnderTheComputeBeforeIt) {
  constexpr int kRanks = 3;
  const test::Folder folder;
  const RunSpec spec = traced_run(folder, kRanks);
  KeepNotes observer;
  run(spec, kRanks, observer);
  const std::string path = folder / "run/trace/steps_00000002_to_00000003.json";
  EXPECT_NE(observer.notes.find("trace of steps 2 to 3: " + path), std::string::npos) << observer.notes;
  const json trace = json::parse(test::read_file(path));
  const std::vector<Span> spans = spans_of(trace);
  std::string complaints;
  const int passes = kRanks * 2 * static_cast<int>(spec.model.num_layers);  // ranks, steps, layers
  const int transfers = passes * 2 * (kRanks - 1);  // keys and values of every hop but the first
  EXPECT_EQ(hidden_hops(spans, kAttentionForward, complaints), transfers);
  EXPECT_EQ(hidden_hops(spans, kAttentionBackward, complaints), transfers);
  EXPECT_EQ(complaints, "");
  expect_nested(spans);
}

TEST(Trace, HasARowForEachStreamOfEachRank) {
  const test::Folder folder;
  TrainObserver silent;
  run(traced_run(folder, 2), 2, silent);
  const json trace = json::parse(test::read_file(folder / "run/trace/steps_00000002_to_00000003.json"));
  std::map<int, std::string> processes;
  for (const json& event : trace.at("traceEvents")) {
    if (event.at("name") == "process_name") processes[event.at("pid").get<int>()] = event.at("args").at("name");
  }
  EXPECT_EQ(processes, (std::map<int, std::string>{{0, "rank 0"}, {1, "rank 1"}}));
  std::map<std::string, std::string> row_of;  // by span, on rank 0
  for (const Span& span : spans_of(trace)) {
    const std::string& row = span.row_name;
    if (span.arg("bytes") >= 0 && (span.name.ends_with("transfer") || span.name == kReductionTransfer)) {
      EXPECT_TRUE(row.starts_with("transfers")) << span.name << " on " << row;
    } else {
      row_of[span.name] = row;
    }
    EXPECT_GE(span.begin, 0);
    EXPECT_TRUE(span.arg("step") == 2 || span.arg("step") == 3) << span.name << " " << span.args;
  }
  const std::map<std::string, std::string> expected = {{"step", "compute"},
                                                       {"zero gradients", "compute"},
                                                       {"forward", "compute"},
                                                       {"backward", "compute"},
                                                       {"weight", "compute"},
                                                       {"attention forward", "compute"},
                                                       {"add gradients", "compute"},
                                                       {"attention backward", "compute"},
                                                       {"losses", "compute"},
                                                       {"optimizer", "compute"},
                                                       {"wait", "communication"},
                                                       {"ring transfer", "communication"},
                                                       {"start reduce", "communication"},
                                                       {"reduce", "communication"},
                                                       {"gradient reduction", "communication"},
                                                       {"gradient transfer", "communication"},
                                                       {"all_reduce", "communication"},
                                                       {"all_gather", "communication"},
                                                       {"broadcast", "communication"},
                                                       {"load batch", "data"},
                                                       {"checkpoint", "checkpoint"},
                                                       {"evaluation", "evaluation"}};
  EXPECT_EQ(row_of, expected);
}

// The trace of a loop that posts a hop only after the compute that should hide it, by the same means.
TEST(Trace, OfALatePosterIsRecognised) {
  const test::Folder folder;
  for (const bool late : {false, true}) {
    const std::string path = folder / (late ? "late.json" : "early.json");
    run_in_process(2, [&](Communicator& world) {
      Context::Options options;
      options.tracer = std::make_shared<Tracer>();
      const Context context(options);
      const Tensor out = context.zeros({64}, DType::kFloat32), in = context.zeros({64}, DType::kFloat32);
      const int peer = 1 - world.rank();
      const auto post = [&] {
        const TraceRange range(context.tracer(), TimeCategory::kCommunication, kRingTransfer, {.hop = 1});
        return world.send_recv(context.stream(), {.send = out, .to = peer, .receive = in, .from = peer});
      };
      const ClockReading clock = read_reference_clock(context, world, [&] { return context.tracer()->now_ns(); });
      context.tracer()->start_recording(64);
      {
        const TraceRange step(context.tracer(), TimeCategory::kCompute, "forward", {.step = 1, .layer = 0});
        Work work;
        if (!late) work = post();
        {
          const TraceRange hop(context.tracer(), TimeCategory::kCompute, kAttentionForward, {.hop = 0});
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        if (late) work = post();
        work.wait();
      }
      const auto events = context.tracer()->stop_recording();
      write_trace_file(
          context, world, path,
          trace_objects({.rank = world.rank(), .events = events}, ReferenceClock(clock, clock), clock.at_ns));
    });
    std::string complaints;
    const int hidden = hidden_hops(spans_of(json::parse(test::read_file(path))), kAttentionForward, complaints);
    EXPECT_EQ(hidden, late ? 0 : 2);
    EXPECT_EQ(complaints.empty(), !late) << complaints;
  }
}

TEST(Trace, CoversTheStepsThatWereAskedFor) {
  const auto trace_of = [](const TraceSpec& trace, int64_t num_steps) {
    const test::Folder folder;
    RunSpec spec = traced_run(folder, 1);
    spec.data.sequence_length = 64;
    spec.evaluation.data.reset();
    spec.num_steps = num_steps;
    spec.trace = trace;
    KeepNotes observer;
    run(spec, 1, observer);
    std::string files;
    const std::string traces = folder / "run/trace";
    if (std::filesystem::exists(traces)) {
      for (const auto& entry : std::filesystem::directory_iterator(traces))
        files += entry.path().filename().string() + " ";
    }
    const bool told = observer.notes.find("metrics.trace_steps: this run does") != std::string::npos;
    return files + (told ? "told" : "");
  };
  EXPECT_EQ(trace_of({.num_steps = 0, .first_step = 0}, 2), "");
  EXPECT_EQ(trace_of({.num_steps = 1, .first_step = 0}, 3), "steps_00000002_to_00000002.json ");
  EXPECT_EQ(trace_of({.num_steps = 5, .first_step = 0}, 3), "steps_00000002_to_00000003.json ");  // the run ends before
  EXPECT_EQ(trace_of({.num_steps = 1, .first_step = 1}, 2), "steps_00000001_to_00000001.json ");
  EXPECT_EQ(trace_of({.num_steps = 1, .first_step = 0}, 1), "steps_00000001_to_00000001.json ");  // there is no second
  EXPECT_EQ(trace_of({.num_steps = 1, .first_step = 9}, 2), "told");
}

}  // namespace
}  // namespace longspan
