// Whole runs with every tensor in memory that the host cannot touch: that of the device of this program. Their losses are those
// of the CPU, to the rounding of float32; they stop, resume, evaluate and generate as runs on a CPU do.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "core/kernels/backends.h"
#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "tests/train/device_resources.h"
#include "tests/train/trace_spans.h"
#include "train/checkpoint.h"
#include "train/train.h"
#include "train/verify.h"

namespace longspan::test {
namespace {

constexpr double kTolerance = 1e-5;

RunSpec tiny_run(const Folder& folder, const std::string& output) {
  RunSpec spec;
  spec.output_directory = folder / output;
  spec.model.hidden_size = 16;
  spec.model.num_layers = 1;
  spec.model.num_heads = 2;
  spec.model.num_kv_heads = 1;
  spec.model.head_dim = 8;
  spec.model.mlp_size = 24;
  spec.data.sources = {{.files = {folder.write("text", "the quick brown fox jumps over the lazy dog, and so on and on")}}};
  spec.data.sequence_length = 19;
  spec.global_batch_sequences = 2;
  spec.optimizer.learning_rate = 1e-2;
  spec.num_steps = 4;
  spec.tensorboard = RunSpec::TensorBoard::kOff;
  return spec;
}

struct Collect final : TrainObserver {
  void on_step(const StepReport& r) override { losses.push_back(r.loss); }
  void on_evaluation(const EvaluationReport& r) override { evaluations.push_back(r.loss); }
  std::vector<double> losses, evaluations;
};

Collect run(const RunSpec& spec, const RankResources& resources, size_t stop_after = 0) {
  Collect collect;
  const auto alone = make_self_communicator();
  train(spec, *alone, resources, collect, [&] { return stop_after > 0 && collect.losses.size() + 1 >= stop_after; });
  return collect;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], kTolerance * want[i]) << "number " << i;
}

TEST(DeviceRun, LearnsAndEvaluatesAsOnACpu) {
  const Folder folder;
  RunSpec spec = tiny_run(folder, "device");
  spec.evaluation.data = spec.data;
  spec.evaluation.interval_steps = 2;
  spec.dump_gradients = folder / "gradients.safetensors";
  const Collect device = run(spec, device_resources());
  const std::string dumped = read_file(spec.dump_gradients);
  spec.output_directory = folder / "cpu";
  const Collect cpu = run(spec, {});
  ASSERT_EQ(cpu.losses.size(), 4u);
  expect_near(device.losses, cpu.losses);
  ASSERT_EQ(cpu.evaluations.size(), 2u);
  expect_near(device.evaluations, cpu.evaluations);
  EXPECT_EQ(dumped.size(), read_file(spec.dump_gradients).size());
}

// Ranges of the host say how long it gave work to the device; that is nobody's compute.
TEST(DeviceRun, TellsTimesThatAreTrueAlone) {
  const Folder folder;
  RunSpec spec = tiny_run(folder, "device");
  spec.num_steps = 1;
  run(spec, device_resources());
  const auto device = json::parse(read_file(folder / "device/metrics.jsonl"));
  spec.output_directory = folder / "cpu";
  run(spec, {});
  const auto cpu = json::parse(read_file(folder / "cpu/metrics.jsonl"));
  for (const char* name : {"compute_seconds", "compute_seconds_min", "compute_seconds_max", "communication_exposed_seconds",
                           "communication_hidden_seconds", "unaccounted_seconds", "exposed_wait_seconds"}) {
    EXPECT_TRUE(device.at(name).is_null()) << name;
    EXPECT_TRUE(cpu.at(name).is_number()) << name;
  }
  for (const char* name : {"step_seconds", "data_seconds", "checkpoint_seconds", "evaluation_seconds"}) {
    EXPECT_TRUE(device.at(name).is_number()) << name;
  }
}

TEST(DeviceRun, LeavesATraceWithTheDevicesStream) {
  const Folder folder;
  RunSpec spec = tiny_run(folder, "device");
  spec.num_steps = 2;
  spec.trace.num_steps = 1;
  run(spec, device_resources());
  const auto spans = spans_of(json::parse(read_file(folder / "device/trace/steps_00000002_to_00000002.json")));
  std::map<std::string, std::set<std::string>> rows_of;
  for (const Span& span : spans) rows_of[span.name].insert(span.row_name);
  const std::set<std::string> both = {"compute stream", "host: compute"};
  for (const char* name : {"step", "forward", "backward", "weight", "attention forward", "attention backward", "optimizer"}) {
    EXPECT_EQ(rows_of[name], both) << name;
  }
  expect_nested(spans);
}

TEST(DeviceRun, StoppedAndResumedIsTheSameRunThereAndOnACpu) {
  const Folder folder;
  const Collect whole = run(tiny_run(folder, "whole"), device_resources());
  const RunSpec spec = tiny_run(folder, "stopped");
  Collect first = run(spec, device_resources(), 2);
  ASSERT_EQ(first.losses.size(), 2u);
  const RunSpec moved = tiny_run(folder, "moved");
  std::filesystem::copy(spec.output_directory, moved.output_directory, std::filesystem::copy_options::recursive);
  const Collect there = run(spec, device_resources()), here = run(moved, {});
  ASSERT_EQ(there.losses.size(), 2u);
  EXPECT_EQ(there.losses, std::vector<double>(whole.losses.begin() + 2, whole.losses.end()));
  expect_near(here.losses, there.losses);
}

TEST(DeviceRun, GeneratesWhatACpuDoes) {
  const Folder folder;
  RunSpec spec = tiny_run(folder, "device");
  run(spec, device_resources());
  spec.generation.prompt = "the quick";
  spec.generation.max_tokens = 5;
  spec.generation.temperature = 0;
  const auto ignore = [](int32_t) {};
  EXPECT_EQ(generate(spec, device_resources(), ignore), generate(spec, {}, ignore));
}

// On every axis.
TEST(DeviceRun, TwoRanksAgreeWithOne) {
  const Folder folder;
  RunSpec spec = tiny_run(folder, "");
  spec.output_directory = "";
  spec.num_steps = 1;
  const auto expect_agreement = [&](const RunSpec& run) {
    SCOPED_TRACE(run.mesh.to_string());
    const OneRank one_rank(run, DType::kFloat32, device_resources());
    run_in_process(2, [&](Communicator& threads) {
      const auto staging = make_staging_communicator(threads);
      const VerifyReport report = one_rank.compare(*staging, device_resources());
      EXPECT_EQ(report.difference, "");
      EXPECT_GT(report.num_tensors, 20);
    });
  };
  spec.mesh = {.context = 2};
  expect_agreement(spec);
  spec.context.scheme = ContextScheme::kAllToAll;
  expect_agreement(spec);
  spec.mesh = {.tensor = 2};
  expect_agreement(spec);
  spec.mesh = {.data = 2};
  for (const auto sharding : {RunSpec::Sharding::kOptimizer, RunSpec::Sharding::kWeights}) {
    spec.sharding = sharding;
    expect_agreement(spec);
  }
  spec.sharding = RunSpec::Sharding::kNone;
  spec.mesh = {.pipeline = 2};
  spec.model.tie_embeddings = ModelSpec::Tie::kYes;
  expect_agreement(spec);
  spec.pipeline = {.schedule = PipelineSchedule::kZeroBubble, .sequence_chunks = 2};
  expect_agreement(spec);
}

TEST(DeviceRun, FourRanksAgreeWithOneByEveryScheme) {
  const Folder folder;
  RunSpec spec = tiny_run(folder, "");
  spec.output_directory = "";
  spec.num_steps = 1;
  spec.model.num_heads = 4;
  spec.global_batch_sequences = 1;
  spec.mesh.context = 4;
  for (const auto scheme : {ContextScheme::kRing, ContextScheme::kAllToAll, ContextScheme::kAllGather,
                            ContextScheme::kHybrid, ContextScheme::kDoubleRing}) {
    spec.context.scheme = scheme;
    const OneRank one_rank(spec, DType::kFloat32, device_resources());
    run_in_process(4, [&](Communicator& threads) {
      const auto staging = make_staging_communicator(threads);
      EXPECT_EQ(one_rank.compare(*staging, device_resources()).difference, "") << name(scheme);
    });
  }
}

TEST(DeviceRun, RanksThatShareTheirStateAgreeWithOne) {
  const Folder folder;
  for (const auto state : {RunSpec::Sharding::kOptimizer, RunSpec::Sharding::kGradients, RunSpec::Sharding::kWeights}) {
    RunSpec spec = tiny_run(folder, "");
    spec.output_directory = "";
    spec.num_steps = 2;
    spec.mesh.data = 2;
    spec.sharding = state;
    spec.bucket_elements = 1;
    Collect one, two;
    {
      RunSpec alone = spec;
      alone.mesh = {};
      alone.sharding = RunSpec::Sharding::kNone;
      one = run(alone, device_resources());
    }
    run_in_process(2, [&](Communicator& threads) {
      const auto staging = make_staging_communicator(threads);
      Collect collect;
      train(spec, *staging, device_resources(), collect, [] { return false; });
      if (threads.rank() == 0) two = collect;
    });
    expect_near(two.losses, one.losses);
  }
}

TEST(DeviceRun, IsRefusedInABuildWithoutCuda) {
  if (has_cuda()) GTEST_SKIP() << "this build has it";
  const Folder folder;
  RankResources resources;
  resources.device.type = DeviceType::kCuda;
  EXPECT_THROW(run(tiny_run(folder, "refused"), resources), Error);
}

}  // namespace
}  // namespace longspan::test
