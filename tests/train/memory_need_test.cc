#include "train/memory_need.h"

#include <gtest/gtest.h>

#include "core/kernels/backends.h"
#include "parallel/comm/backends.h"
#include "tests/core/expect_error.h"
#include "tests/support/emulated_attention.h"
#include "tests/support/folder.h"
#include "tests/train/small_run.h"
#include "train/train.h"

namespace longspan {
namespace {

using test::expect_error;
using test::small_run;

TEST(MemoryNeed, ParametersThatFitPass) {
  RunSpec spec;
  const double bytes_per_parameter = training_bytes_per_parameter(spec);
  EXPECT_EQ(bytes_per_parameter, 16);
  spec.sharding = RunSpec::Sharding::kOptimizer;
  spec.mesh.data = spec.mesh.context = 2;
  EXPECT_EQ(training_bytes_per_parameter(spec), 10) << "four ranks share the moments";
  spec.sharding = RunSpec::Sharding::kGradients;
  EXPECT_EQ(training_bytes_per_parameter(spec), 7);
  spec.sharding = RunSpec::Sharding::kWeights;
  EXPECT_EQ(training_bytes_per_parameter(spec), 4);
  spec.compute_dtype = DType::kBFloat16;
  EXPECT_EQ(training_bytes_per_parameter(spec), 18.0 / 4) << "values in two bytes, with masters of their own";
  spec.mesh.data = 32;
  spec.sharding = RunSpec::Sharding::kGradients;
  EXPECT_EQ(training_bytes_per_parameter(spec), 2 + 16.0 / 64);
  EXPECT_NO_THROW(expect_room_for_parameters(1000, bytes_per_parameter, 16000));
  EXPECT_NO_THROW(expect_room_for_parameters(int64_t{1} << 60, bytes_per_parameter, 0)) << "nothing is known";
  expect_error(ErrorKind::kResource, {"1001 parameters", "model.hidden_size"},
               [&] { expect_room_for_parameters(1001, bytes_per_parameter, 16000); });
  expect_error(ErrorKind::kResource, {"at least 18446744073.7 GB", "which has 9.0 GB"},
               [&] { expect_room_for_parameters(int64_t{1} << 60, bytes_per_parameter, 9'000'000'000); });
}

struct MeasureOptions {
  CpuLevel level = detect_cpu_level();
  std::shared_ptr<const KernelSet> kernels = nullptr;  // instead of those of the level
  double least = 0.9;                                  // of what was measured
};

// Trains, and compares what the run says it took on the rank that took most.
void expect_close_to_measured(RunSpec spec, const char* what, const MeasureOptions& options = {}) {
  const test::Folder folder;
  spec.data.sources = {{.files = {folder.write("text", std::string(20000, 'x'))}}};
  struct Last final : TrainObserver {
    void on_step(const StepReport& report) override { peak = static_cast<double>(report.peak_memory_bytes_max); }
    double peak = 0;
  };
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    Last last;
    train(spec, world, {.num_threads = 1, .kernels = options.kernels}, last, [] { return false; });
    if (world.rank() != 0) return;
    const double bound = training_need(spec, {.level = options.level}).total();
    testing::Test::RecordProperty(fmt::format("bound_to_peak_{}_context_{}", what, spec.mesh.context),
                                  fmt::format("{:.3f}", bound / last.peak));
    EXPECT_LE(bound, last.peak) << what << ", context " << spec.mesh.context;
    EXPECT_GE(bound, options.least * last.peak) << what << ", context " << spec.mesh.context;
  });
}

TEST(MemoryNeed, IsALowerBoundCloseToWhatAStepTakes) {
  for (const int context : {1, 2, 4}) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      RunSpec spec = small_run(4096, context);
      spec.compute_dtype = dtype;
      expect_close_to_measured(spec, dtype == DType::kFloat32 ? "fp32" : "bf16");
    }
    RunSpec qwen = small_run(2048, context);
    qwen.model.num_layers = 2;
    qwen.model.head_dim = 32;
    qwen.model.tie_embeddings = ModelSpec::Tie::kYes;
    qwen.model.bias = ModelSpec::Bias::kQkv;
    qwen.model.qk_norm = ModelSpec::QkNorm::kYes;
    expect_close_to_measured(qwen, "qk_norm_bias_tied");
    RunSpec heavy_attention = small_run(2048, context);
    heavy_attention.model.num_layers = 1;
    heavy_attention.model.num_kv_heads = 4;
    heavy_attention.model.head_dim = 32;
    expect_close_to_measured(heavy_attention, "attention");
    RunSpec heavy_mlp = small_run(2048, context);
    heavy_mlp.model.num_layers = 1;
    heavy_mlp.model.mlp_size = 512;
    expect_close_to_measured(heavy_mlp, "mlp");
    RunSpec heavy_head = small_run(2048, context);
    heavy_head.model.num_layers = 1;
    heavy_head.model.vocabulary_size = 2000;
    heavy_head.loss_tile_tokens = 1024;
    heavy_head.compute_dtype = DType::kBFloat16;
    expect_close_to_measured(heavy_head, "head");
  }
}

TEST(MemoryNeed, KnowsWhatRanksOfATensorAxisHoldAlike) {
  for (const int tensor : {2, 4}) {
    for (const int64_t kv_heads : {1, 2, 4}) {
      RunSpec spec = small_run(4096, 2);
      spec.mesh.tensor = tensor;
      spec.model.num_kv_heads = kv_heads;
      spec.model.head_dim = 32;
      expect_close_to_measured(spec, fmt::format("tensor_{}_kv_{}", tensor, kv_heads).c_str());
    }
  }
}

// Buckets of one block, of which few are open, and one of all, which is; activations are little. What is on its way into sums
// comes on top: of one bucket of all blocks, those of a whole microbatch while the next one computes.
TEST(MemoryNeed, KnowsWhatIsOpenOfWhatRanksShare) {
  for (const auto state : {RunSpec::Sharding::kGradients, RunSpec::Sharding::kWeights}) {
    for (const int64_t bucket_elements : {int64_t{1}, StateShare{}.bucket_elements}) {
      for (const auto& [pipeline, microbatches] : {std::pair{1, 1}, {2, 1}, {2, 3}}) {
        RunSpec spec = small_run(512, 1);
        spec.mesh.data = 4;
        spec.mesh.pipeline = pipeline;
        spec.global_batch_sequences = 4 * microbatches;
        spec.model.hidden_size = 64;
        spec.model.num_layers = 6;
        spec.model.mlp_size = 256;
        spec.model.vocabulary_size = 1000;
        spec.model.tie_embeddings = ModelSpec::Tie::kYes;
        spec.sharding = state;
        spec.bucket_elements = bucket_elements;
        const std::string what = fmt::format("state_{}_buckets_{}_stages_{}_microbatches_{}", static_cast<int>(state),
                                             bucket_elements, pipeline, microbatches);
        expect_close_to_measured(spec, what.c_str(), {.least = bucket_elements > 1 && microbatches > 1 ? 0.92 : 0.96});
      }
    }
  }
}

// Key heads that every rank holds: their gradients are there twice where they are summed, which is most where tokens are few.
TEST(MemoryNeed, KnowsTheSumsOfWhatRanksHoldAlike) {
  RunSpec spec = small_run(8, 1);
  spec.mesh.tensor = 4;
  spec.model = {.vocabulary_size = 256, .hidden_size = 256, .num_layers = 3, .num_heads = 4, .num_kv_heads = 1, .head_dim = 64,
                .mlp_size = 16, .rope = {}};
  expect_close_to_measured(spec, "held_alike", {.least = 0.97});
}

TEST(MemoryNeed, KnowsWhatEverySchemeHolds) {
  for (const auto scheme : {ContextScheme::kAllToAll, ContextScheme::kAllGather, ContextScheme::kHybrid,
                            ContextScheme::kDoubleRing}) {
    for (const int64_t kv_heads : {1, 4}) {
      RunSpec spec = small_run(2048, 4);
      spec.context.scheme = scheme;
      spec.model.num_layers = 1;
      spec.model.num_kv_heads = kv_heads;
      spec.model.head_dim = 32;
      expect_close_to_measured(spec, fmt::format("{}_{}", name(scheme), kv_heads).c_str());
    }
  }
}

// Where gradients of bfloat16 are written over their logits, a tile takes 4 bytes a logit.
TEST(MemoryNeed, OfALossOnAGpuHasNoSecondTile) {
  RunSpec spec = small_run(2048, 1);
  spec.model.vocabulary_size = 20000;
  spec.loss_tile_tokens = 1024;
  spec.compute_dtype = DType::kBFloat16;
  const auto at_work = [&](DeviceType device) {
    return training_need(spec, {.level = CpuLevel::kPortable, .device = device}).at_work;
  };
  EXPECT_EQ(at_work(DeviceType::kCpu) - at_work(DeviceType::kCuda), 1024.0 * 20000 * 2);
}

// On tiles, attention packs its inputs and keeps sums of its own: more than all else here.
TEST(MemoryNeed, CountsWhatTilesPack) {
  if (!test::has_emulated_bf16_tiles()) GTEST_SKIP() << "no tile unit can be emulated here";
  auto rest = std::make_shared<KernelSet>("all but tiles"), kernels = std::make_shared<KernelSet>("emulated tiles");
  add_cpu_attention(*rest, CpuLevel::kAvx512Bf16);
  add_cpu_kernels(*kernels, CpuLevel::kAvx512Bf16);
  const std::shared_ptr<const BlockAttention> plain(rest, &rest->get<BlockAttention>());
  kernels->add<BlockAttention>(make_tile_attention(amx_emulated_bf16::tile_kernels(), plain));
  for (const int context : {1, 2, 4}) {
    RunSpec spec = small_run(2048, context);
    spec.model.num_layers = 1;
    spec.model.head_dim = 64;
    spec.compute_dtype = DType::kBFloat16;
    expect_close_to_measured(spec, "tiles", {.level = CpuLevel::kAmx, .kernels = kernels});
  }
}

// Weights, values in bfloat16 and what products read packed; all else of so small a run is activations.
TEST(MemoryNeed, OfInferenceIsWhatWeightsTake) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const auto tie : {ModelSpec::Tie::kNo, ModelSpec::Tie::kYes}) {
      const test::Folder folder;
      RunSpec spec = small_run(64, 1);
      spec.model.hidden_size = 128;
      spec.model.head_dim = 32;
      spec.model.mlp_size = 256;
      spec.model.qk_norm = ModelSpec::QkNorm::kYes;
      spec.model.tie_embeddings = tie;
      spec.compute_dtype = dtype;
      spec.output_directory = folder / "run";
      spec.data.sources = {{.files = {folder.write("text", std::string(200, 'x'))}}};
      spec.evaluation.data = spec.data;
      spec.generation.prompt = "x";
      spec.generation.max_tokens = 2;
      const auto alone = make_self_communicator();
      TrainObserver silent;
      train(spec, *alone, {}, silent, [] { return false; });
      const double bound = inference_weight_bytes(spec);
      const auto expect_close = [&](const char* what, const auto& body) {
        const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
        body(RankResources{.memory = memory});
        const auto weights = static_cast<double>(memory->statistics().peak_by_tag[static_cast<size_t>(MemoryTag::kWeights)]);
        EXPECT_LE(bound, weights) << what;
        EXPECT_GE(bound, 0.99 * weights) << what << ": parameters begin at whole cache lines";
      };
      expect_close("evaluate", [&](const RankResources& resources) { evaluate(spec, *alone, resources, silent); });
      expect_close("generate", [&](const RankResources& resources) { generate(spec, resources, [](int32_t) {}); });
      const auto least = static_cast<int64_t>(bound);
      EXPECT_NO_THROW(expect_room_for_inference(spec, least + 1));
      expect_error(ErrorKind::kResource, {"parameters that a rank holds of the model need at least"},
                   [&] { expect_room_for_inference(spec, least - 1); });
    }
  }
}

// All tokens of a step have tables, only those of one microbatch activations.
TEST(MemoryNeed, CountsMicrobatchesAndTheMesh) {
  RunSpec spec = small_run(256, 2);
  spec.micro_batch_sequences = 2;
  spec.global_batch_sequences = 64;
  spec.mesh.data = 2;
  expect_close_to_measured(spec, "many_microbatches");
}

// The stage that holds most: by GPipe all stashes, by 1F1B those of the microbatches under way, by zero bubble some more; with
// chunks of sequences smaller ones, and sums of gradients by keys and values.
TEST(MemoryNeed, CountsTheStashesOfAPipeline) {
  RunSpec spec = small_run(1024, 1);
  spec.model.num_layers = 6;
  spec.mesh.pipeline = 3;
  spec.global_batch_sequences = 16;
  // A stash that waits for its W has gradients besides, which the bound leaves out.
  const auto kept = [&](PipelineSchedule schedule) {
    spec.pipeline.schedule = schedule;
    expect_close_to_measured(spec, name(schedule), {.least = schedule == PipelineSchedule::kZeroBubble ? 0.75 : 0.9});
    return training_need(spec).kept;
  };
  const double few = kept(PipelineSchedule::kOneForwardOneBackward);
  EXPECT_GE(kept(PipelineSchedule::kZeroBubble), few);
  EXPECT_DOUBLE_EQ(kept(PipelineSchedule::kGPipe), few / 3 * 16);
  spec.global_batch_sequences = 1 << 20;
  EXPECT_DOUBLE_EQ(training_need(spec).kept, few / 3 * (1 << 20)) << "none is planned";
  spec.global_batch_sequences = 4;
  spec.data.sequence_length = 4096;
  spec.pipeline.sequence_chunks = 4;
  const double chunked = kept(PipelineSchedule::kOneForwardOneBackward);
  EXPECT_DOUBLE_EQ(chunked, few * 4 / 3 * (2 + 4) / 4) << "6 chunks of a quarter each, not 3 sequences";
}

TEST(MemoryNeed, SaysWhatWouldFit) {
  RunSpec spec = small_run(1'000'000, 1);
  const auto need = [](const RunSpec& s) { return static_cast<int64_t>(training_need(s).total()) + 1; };
  RunSpec third = spec, split = spec;
  third.data.sequence_length = 300'000;
  split.mesh.context = 4;
  EXPECT_NO_THROW(expect_room_for_batch(spec, need(spec)));
  EXPECT_NO_THROW(expect_room_for_batch(spec, 0)) << "nothing is known";
  expect_error(ErrorKind::kResource,
               {"data.sequence_length 1000000", "training.micro_batch_sequences 1", "training.global_batch_sequences 1",
                "weights and optimizer 0.0", "kept for backward 5.1", "which has 1.", "to at most 300000,"},
               [&] { expect_room_for_batch(spec, need(third)); });
  expect_error(ErrorKind::kResource, {"at least 4 ranks", "mesh.context 4"},
               [&] { expect_room_for_batch(spec, need(split)); });
  split.mesh.data = spec.mesh.data = 2;
  split.global_batch_sequences = spec.global_batch_sequences = 2;
  expect_error(ErrorKind::kResource, {"at least 8 ranks", "mesh.context 4"},
               [&] { expect_room_for_batch(spec, need(split)); });
  expect_error(ErrorKind::kResource, {"model.num_layers", "no length fits"},
               [&] { expect_room_for_batch(spec, 1000); });
  spec.global_batch_sequences = 4;
  expect_error(ErrorKind::kResource, {"or lower training.micro_batch_sequences or global_batch_sequences"},
               [&] { expect_room_for_batch(spec, 1000); });
}

std::string refusal(const RunSpec& spec, double available_bytes) {
  try {
    expect_room_for_batch(spec, static_cast<int64_t>(available_bytes));
  } catch (const Error& error) {
    return error.what();
  }
  return "fits";
}

// Weights that no ring makes smaller; long sequences, of which a ring takes as much for fewer messages; heads that do not divide.
TEST(MemoryNeed, SuggestsATensorAxisWhereItHelps) {
  RunSpec wide = small_run(64, 2);
  wide.model.hidden_size = 256;
  wide.model.mlp_size = 1024;
  RunSpec tensor = wide;
  tensor.mesh.tensor = 4;
  const std::string text = refusal(wide, 1.01 * training_need(tensor).total());
  EXPECT_NE(text.find("or start at least 8 ranks with as much memory each, as mesh.tensor 4"), std::string::npos) << text;
  EXPECT_EQ(text.find("mesh.context"), std::string::npos) << text;
  wide.model.num_heads = wide.model.num_kv_heads = 5;
  const auto suggests = [&](const char* what) {
    return refusal(wide, 1.01 * training_need(tensor).total()).find(what) != std::string::npos;
  };
  EXPECT_FALSE(suggests("mesh.tensor 4")) << "heads do not divide";
  wide.model.num_heads = wide.model.num_kv_heads = 4;
  wide.context.scheme = ContextScheme::kAllToAll;
  EXPECT_FALSE(suggests("mesh.tensor")) << "too few heads to exchange";
  const RunSpec long_run = small_run(100'000, 1);
  RunSpec split = long_run;
  split.mesh.context = 4;
  const std::string ring = refusal(long_run, 1.01 * training_need(split).total());
  EXPECT_NE(ring.find("mesh.context 4"), std::string::npos) << ring;
  EXPECT_EQ(ring.find("mesh.tensor"), std::string::npos) << ring;
}

TEST(MemoryNeed, CountsBeyond64Bits) {
  RunSpec spec = small_run(int64_t{1} << 40, 1);
  spec.global_batch_sequences = 1 << 24;
  EXPECT_THROW(expect_room_for_batch(spec, int64_t{1} << 50), Error) << "beyond 64 bits";
}

}  // namespace
}  // namespace longspan
