// What a configuration may say: every number has limits, what this program cannot do is refused by name, and what is left
// open is chosen and written down.
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include "core/base/cpu_level.h"
#include "core/base/error.h"
#include "launcher/config_limits.h"
#include "launcher/config_schema.h"
#include "launcher/config_spec.h"

namespace longspan {
namespace {

using Overrides = std::vector<std::string>;

const std::string kMinimal = "output_directory: \"out\" data { files: \"text\" }";

ConfigTarget target(Command command = Command::kTrain, int num_ranks = 1) {
  return {.command = command, .num_ranks = num_ranks, .read_model = [](const std::string&) { return ModelSpec{}; }};
}

LoadedConfig resolved(const Overrides& overrides, const ConfigTarget& to = target()) {
  LoadedConfig loaded = parse_config(kMinimal, "run.textproto", overrides);
  resolve(loaded, to);
  return loaded;
}

std::string refusal(const Overrides& overrides, const ConfigTarget& to = target()) {
  try {
    resolved(overrides, to);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfiguration);
    return error.what();
  }
  return "no error";
}

void expect_refusal(const Overrides& overrides, const std::string& part, const ConfigTarget& to = target()) {
  const std::string text = refusal(overrides, to);
  EXPECT_NE(text.find(part), std::string::npos) << text << "\n  lacks  " << part;
}

// "data.blend[].weight" as an override that sets just that number.
std::string override_of(const std::string& path, const std::string& value) {
  const size_t list = path.find("[].");
  if (list == std::string::npos) return path + "=" + value;
  return fmt::format("{}={{files: \"a\" {}: {}}}", path.substr(0, list), path.substr(list + 3), value);
}

const google::protobuf::FieldDescriptor& field_at(const std::string& path) {
  std::vector<std::string> names(1);
  for (const char c : path) {
    if (c == '.') {
      names.emplace_back();
    } else if (c != '[' && c != ']') {
      names.back() += c;
    }
  }
  const std::string last = names.back();
  names.pop_back();
  return *message_at(names)->FindFieldByName(last);
}

bool is_number(const std::string& path) {
  const auto type = field_at(path).cpp_type();
  using google::protobuf::FieldDescriptor;
  return type == FieldDescriptor::CPPTYPE_DOUBLE || type == FieldDescriptor::CPPTYPE_INT64;
}

TEST(ConfigLimits, CoverEveryNumberOfTheSchema) {
  int count = 0;
  for (const std::string& path : all_field_paths()) {
    if (!is_number(path)) continue;
    EXPECT_TRUE(limits_of(path)) << path << " has no limits";
    ++count;
  }
  EXPECT_GT(count, 45);
}

TEST(ConfigLimits, RefuseEveryNumberBeyondThem) {
  for (const std::string& path : all_field_paths()) {
    if (!is_number(path)) continue;
    const auto limits = *limits_of(path);
    const bool real = field_at(path).cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_DOUBLE;
    std::vector<std::string> values{"-1"};
    if (real) {
      for (const char* value : {"nan", "inf", "-inf", "1e999", "-1e-300"}) values.push_back(value);
    } else {
      values.push_back("9223372036854775807");
      if (limits.minimum > 0) values.push_back("0");
    }
    for (const std::string& value : values) {
      const std::string text = override_of(path, value);
      const std::string message = refusal({text});
      EXPECT_EQ(message.substr(0, 7 + text.size()), "--set " + text + ":") << message;
      EXPECT_NE(message.find("; allowed is "), std::string::npos) << message;
    }
  }
}

TEST(ConfigLimits, NameFieldValueRangeAndPlace) {
  LoadedConfig loaded = parse_config("training {\n  steps: 0\n}", "run.textproto", {});
  try {
    resolve(loaded, target());
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "run.textproto:2:3: training.steps: is 0; allowed is 1 to 1000000000000");
  }
  expect_refusal({"optimizer.epsilon=0"}, "optimizer.epsilon: is 0; allowed is more than 0 to 1");
}

TEST(ConfigLimits, LargeIntegersAreQuotedAsTheyAre) {
  expect_refusal({"training.steps=9007199254740993"}, "training.steps: is 9007199254740993; allowed is 1 to");
}

TEST(ConfigLimits, NamesHoldNoZeroBytes) {
  expect_refusal({"data.files+=\"a\\000b\""}, "data.files[1]: is \"a\\x00b\", with a zero byte at 1");
  EXPECT_NO_THROW(resolved({"generation.prompt=\"\\000\""}, target(Command::kGenerate)));
}

TEST(ConfigLimits, CollectAllProblems) {
  const std::string text = refusal({"training.steps=0", "model.head_dim=0", "memory.offload=STASH"});
  EXPECT_NE(text.find("training.steps"), std::string::npos);
  EXPECT_NE(text.find("model.head_dim"), std::string::npos);
  EXPECT_NE(text.find("STASH does not exist yet"), std::string::npos);
}

TEST(ConfigLimits, RefuseUnknownEnumNumbers) {
  expect_refusal({"context.layout=7"}, "context.layout: is 7; allowed are CONTIGUOUS, ZIGZAG, STRIPED");
  expect_refusal({"checkpoint.resume=-3"}, "checkpoint.resume: is -3; allowed are LATEST, NONE or the number of a step");
  expect_refusal({"checkpoint.resume=0"}, "checkpoint.resume: is 0;");
}

TEST(ConfigSupport, RefusesByName) {
  expect_refusal({"memory.recompute=BLOCK"}, "memory.recompute: BLOCK does not exist yet");
  expect_refusal({"memory.recompute=KEEP_ATTENTION"}, "KEEP_ATTENTION does not exist yet");
  expect_refusal({"memory.offload=STASH"}, "memory.offload: STASH does not exist yet");
  expect_refusal({"memory.mlp_tile_tokens=64"}, "memory.mlp_tile_tokens: is 64");
  expect_refusal({"recurrence.mode=EXACT"}, "recurrence.mode: EXACT does not exist yet");
  expect_refusal({"recurrence.mode=CACHED"}, "recurrence.mode: CACHED does not exist yet");
  expect_refusal({"recurrence.segment_tokens=1"}, "recurrence.segment_tokens: is 1");
  expect_refusal({"recurrence.memory_tokens=1"}, "recurrence.memory_tokens: is 1");
  expect_refusal({"data.format=LLMC"}, "data.format: LLMC does not exist yet");
}

TEST(ConfigSupport, PlansThePipeline) {
  const auto schedule = [](const std::vector<std::string>& set) {
    return resolved(set, target(Command::kTrain, 2)).config.pipeline().schedule();
  };
  EXPECT_EQ(schedule({"mesh={pipeline: 2}"}), config::Pipeline::ONE_F_ONE_B);
  EXPECT_EQ(schedule({"mesh={pipeline: 2}", "pipeline.chunks_per_stage=2", "training.global_batch_sequences=2"}),
            config::Pipeline::INTERLEAVED);
  EXPECT_EQ(schedule({"mesh={pipeline: 2}", "pipeline.schedule=ZERO_BUBBLE"}), config::Pipeline::ZERO_BUBBLE);
  EXPECT_EQ(schedule({"mesh={pipeline: 2}", "pipeline.sequence_chunks=4"}), config::Pipeline::SEQUENCE_CHUNKED);
  const ConfigTarget eight = target(Command::kTrain, 8), two = target(Command::kTrain, 2);
  expect_refusal({"mesh={pipeline: 8}"},
                 "mesh.pipeline: is 8, more than the 6 blocks of this model (4 layers, the embedding and the head); the nearest "
                 "that works is 6",
                 eight);
  expect_refusal({"mesh={pipeline: 2}", "pipeline.chunks_per_stage=4"},
                 "pipeline.chunks_per_stage: is 4, and 4 chunks on each of 2 stages are more than the 6 blocks", two);
  expect_refusal({"mesh={pipeline: 2}", "pipeline.chunks_per_stage=2", "training.global_batch_sequences=3"},
                 "pipeline.schedule: interleaved 1F1B over 2 ranks takes a multiple of 2 microbatches, not 3; use 4", two);
  expect_refusal({"mesh={pipeline: 2}", "pipeline={schedule: ZERO_BUBBLE chunks_per_stage: 2}"},
                 "pipeline.schedule: the zero-bubble schedule has 1 chunk a rank, not 2; use 1", two);
  expect_refusal({"mesh={pipeline: 2}", "pipeline.schedule=SEQUENCE_CHUNKED"},
                 "pipeline.schedule: is SEQUENCE_CHUNKED, but pipeline.sequence_chunks is 1; use 2 or more", two);
  expect_refusal({"mesh={context: 2}", "pipeline.sequence_chunks=2"},
                 "pipeline.sequence_chunks: is 2, but mesh.context is 2: a sequence is cut for stages or for ranks", two);
  expect_refusal({"mesh={pipeline: 2}", "data.sequence_length=8", "pipeline.sequence_chunks=9"},
                 "pipeline.sequence_chunks: is 9, more than the 8 tokens of a sequence; use 8 or fewer", two);
}

TEST(ConfigSupport, PlansForRanksThatAreNotThere) {
  ConfigTarget planned = target(Command::kPlan, 0);
  planned.ranks = ConfigTarget::Ranks::kPlanned;
  const Overrides nothing = {"output_directory=", "data.files="};
  const auto with = [&](const std::string& mesh) { return Overrides{nothing[0], nothing[1], mesh}; };
  EXPECT_EQ(resolved(with("mesh={data: 2 context: 4}"), planned).config.mesh().context(), 4) << "as many as the mesh has";
  EXPECT_EQ(resolved(nothing, planned).config.mesh().context(), 1);
  expect_refusal(with("mesh={data: 65536 context: 65536}"), "but the plan is for at most 1048576 ranks", planned);
  planned.num_ranks = 1024;
  EXPECT_EQ(resolved(nothing, planned).config.mesh().context(), 1024);
  expect_refusal(with("mesh={context: 4}"), "x tensor 1 has 4 ranks, but the plan is for 1024 ranks: change one of the two",
                 planned);
}

TEST(ConfigSupport, RefusesDegreesThatCannotWork) {
  expect_refusal({"mesh={tensor: 5}"}, "mesh.tensor: is 5, more than can share this model's 4 heads", target(Command::kTrain, 5));
  expect_refusal({"mesh={data: 2}", "training.global_batch_sequences=3"}, "the nearest that is: 2 or 4",
                 target(Command::kTrain, 2));
  EXPECT_EQ(refusal({"mesh={data: 2}", "training.global_batch_sequences=3", "evaluation.files=x"}, target(Command::kEvaluate, 2)),
            "no error");
}

TEST(ConfigSupport, RefusesContradictions) {
  expect_refusal({"metrics.trace_first_step=3"}, "metrics.trace_first_step: is 3, but metrics.trace_steps is 0");
  expect_refusal(
      {"mesh={context: 2}"},
      "--set mesh={context: 2}: mesh: pipeline 1 x data 1 x context 2 x tensor 1 has 2 ranks, but this run has 1: "
      "start it with 2, or set mesh.context 1");
  expect_refusal({"mesh={data: 1048576 context: 1048576}"},
                 "tensor 1 has at least 4294967296 ranks, but this run has 1: leave mesh out");
  expect_refusal({"mesh={data: 2}"}, "x tensor 1 has 2 ranks, but this run has 3: start it with 2, or set mesh.data 3",
                 target(Command::kTrain, 3));
  expect_refusal({"mesh={data: 2}"}, "x tensor 1 has 2 ranks, but this run has 3: start it with 2, or set mesh.data 3",
                 target(Command::kVerify, 3));
  EXPECT_EQ(resolved({"mesh={tensor: 2}"}, target(Command::kVerify, 2)).config.mesh().tensor(), 2);
  ConfigTarget threads = target(Command::kVerify);
  threads.ranks = ConfigTarget::Ranks::kThreads;
  EXPECT_EQ(resolved({"mesh={data: 2 context: 4}", "output_directory=", "data.files="}, threads).config.mesh().context(), 4);
  expect_refusal({"mesh.context=128"}, "mesh: has 128 ranks, more than the 64 that one process runs", threads);
  expect_refusal({"data.holdout_every=1"}, "data.holdout_every: is 1, which keeps every document");
  expect_refusal({"data.holdout_every=8", "evaluation.files=x"}, "evaluation.files: data.holdout_every is 8 as well");
  expect_refusal({"data.blend={files: \"a\"}"}, "data.blend: data.files is set as well");
  expect_refusal({"data.files=", "data.blend={weight: 2}"}, "data.blend[0]: has no files");
  expect_refusal({"data.files="}, "data.files: is not set");
  expect_refusal({"data.files=\"\""}, "data.files: is not set");
  expect_refusal({"output_directory="}, "output_directory: is not set");
  expect_refusal({"model.vocabulary_size=100"}, "model.vocabulary_size: is 100; data.format TEXT has bytes");
  expect_refusal({"data.format=TOKENS_U16"}, "model.vocabulary_size: is not set; data.format TOKENS_U16");
  expect_refusal({"training.global_batch_sequences=3", "training.micro_batch_sequences=2"},
                 "is 3, not a multiple of mesh.data 1 x");
  expect_refusal({"model.num_heads=4", "model.num_kv_heads=3"},
                 "model.num_kv_heads: is 3, which does not divide model.num_heads 4");
  expect_refusal({"model.head_dim=33"}, "model.head_dim: is 33;");
  expect_refusal({"optimizer.learning_rate=1e-3", "optimizer.minimum_learning_rate=2e-3"},
                 "is 0.002, above optimizer.learning_rate 0.001");
  expect_refusal({"evaluation.interval_steps=5"}, "neither evaluation.files nor data.holdout_every");
  expect_refusal({}, "there is nothing to evaluate", target(Command::kEvaluate));
  expect_refusal({}, "generation.prompt: is empty", target(Command::kGenerate));
  expect_refusal({"generation={prompt: \"a\" prompt_tokens: 1}"}, "give one of the two", target(Command::kGenerate));
  expect_refusal({"generation.prompt=a", "model.vocabulary_size=300"},
                 "data.format: is TEXT, but a vocabulary of 300 has tokens that are no bytes", target(Command::kGenerate));
  expect_refusal({"generation.prompt_tokens=256"}, "prompt_tokens[0]: is 256; the vocabulary has 256",
                 target(Command::kGenerate));
}

TEST(ConfigSupport, RefusesWhatABenchmarkDoesNotRead) {
  LoadedConfig loaded =
      parse_config("", "none", {"model.head_dim=64", "precision=BF16", "data.sequence_length=9", "threads_per_rank=1"});
  ConfigTarget attention = target(Command::kBench);
  attention.bench = "attention";
  EXPECT_NO_THROW(resolve(loaded, attention));
  loaded = parse_config("", "none", {"model.num_heads=64"});
  EXPECT_THROW(resolve(loaded, attention), Error);
}

TEST(ConfigSupport, NamesCpuLevelsAsTheLibraryDoes) {
  for (int i = config::Cpu::PORTABLE; i <= config::Cpu::Level_MAX; ++i) {
    std::string upper(name(static_cast<CpuLevel>(i - config::Cpu::PORTABLE)));
    std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
    EXPECT_EQ(config::Cpu::Level_Name(static_cast<config::Cpu::Level>(i)), upper);
  }
}

TEST(ConfigSupport, RefusesALevelThatTheMachineLacks) {
  const auto refusal_on = [](const Overrides& overrides, const std::vector<CpuLevel>& here) {
    const LoadedConfig loaded = resolved(overrides);
    ConfigProblems problems(loaded.origins);
    check_level(loaded.config, here, problems);
    return problems.text("; ");
  };
  const std::vector<CpuLevel> old = {CpuLevel::kPortable, CpuLevel::kAvx2};
  EXPECT_EQ(refusal_on({"cpu.level=AVX512"}, old),
            "--set cpu.level=AVX512: cpu.level: is AVX512, which this machine does not run; it runs PORTABLE, AVX2");
  EXPECT_EQ(refusal_on({"cpu.level=AVX2"}, old), "");
  EXPECT_EQ(refusal_on({"cpu.level=AUTO"}, old), "");
  EXPECT_EQ(refusal_on({}, {CpuLevel::kPortable}), "");
}

TEST(ConfigSupport, KnowsWhatEachBenchmarkReads) {
  const auto refusal_of = [](const std::string& bench, const Overrides& overrides) -> std::string {
    ConfigTarget to = target(Command::kBench, 2);
    to.bench = bench;
    LoadedConfig loaded = parse_config("", "none", overrides);
    try {
      resolve(loaded, to);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(refusal_of("ring", {"model={num_heads: 4 num_kv_heads: 2 head_dim: 8}", "data.sequence_length=9"}), "no error");
  EXPECT_EQ(refusal_of("ring", {"precision=BF16"}),
            "--set precision=BF16: precision: bench ring reads model.num_heads, model.num_kv_heads, model.head_dim, "
            "data.sequence_length, cpu.level and threads_per_rank only");
  EXPECT_EQ(refusal_of("elementwise", {"precision=BF16", "threads_per_rank=1"}), "no error");
  EXPECT_NE(
      refusal_of("elementwise", {"model.head_dim=64"}).find("bench elementwise reads precision, model.hidden_size, device, cpu"),
      std::string::npos);
  EXPECT_EQ(refusal_of("gemm", {"precision=BF16", "model.hidden_size=64", "data.sequence_length=9"}), "no error");
  EXPECT_NE(refusal_of("gemm", {"model.head_dim=64"}).find("bench gemm reads precision, model.hidden_size,"), std::string::npos);
  EXPECT_NE(refusal_of("attention", {"model.num_heads=4"}).find("bench attention reads precision,"), std::string::npos);
  EXPECT_EQ(refusal_of("loss", {"model={hidden_size: 8 vocabulary_size: 9}", "memory.loss_tile_tokens=4"}), "no error");
  EXPECT_NE(refusal_of("loss", {"data.sequence_length=9"}).find("bench loss reads precision,"), std::string::npos);
  EXPECT_EQ(refusal_of("step", {"model={num_layers: 1 rope { theta: 5 }}", "training.micro_batch_sequences=2"}), "no error");
  EXPECT_NE(refusal_of("step", {"training.steps=9"}).find("bench step reads precision, model,"), std::string::npos);
  for (const char* bench : {"attention", "elementwise", "gemm", "loss", "step"}) {
    EXPECT_EQ(refusal_of(bench, {"device=CUDA"}), "no error");
  }
  EXPECT_NE(refusal_of("ring", {"device=CUDA"}).find("bench ring reads"), std::string::npos);
}

TEST(ConfigSupport, SaysNothingOfWhereADefaultCameFrom) {
  EXPECT_TRUE(refusal({"data.files="}).starts_with("--set data.files=: data.files: is not set"));
  EXPECT_TRUE(refusal({}, target(Command::kEvaluate)).starts_with("evaluation.files: is not set"));
}

TEST(ConfigDefaults, AreCompleteAndStable) {
  const LoadedConfig loaded = resolved({}, target(Command::kTrain, 3));
  const std::string text = print_config(loaded.config);
  LoadedConfig again = parse_config(text, "again.textproto", {});
  resolve(again, target(Command::kTrain, 3));
  EXPECT_EQ(print_config(again.config), text);
  EXPECT_EQ(loaded.config.mesh().context(), 3);
  EXPECT_EQ(loaded.config.model().vocabulary_size(), 256);
  EXPECT_EQ(loaded.config.model().mlp_size(), 688);
  EXPECT_EQ(loaded.config.context().scheme(), config::Context::RING);
  EXPECT_EQ(loaded.config.memory().loss_tile_tokens(), 1024);
  EXPECT_EQ(loaded.config.device(), config::RunConfig::CPU);
  LoadedConfig gpu = parse_config("device: CUDA", "gpu.textproto", {});
  ConfigProblems problems(gpu.origins);
  fill_defaults(gpu.config, target(), problems);
  EXPECT_EQ(gpu.config.memory().loss_tile_tokens(), 4096);
  EXPECT_EQ(resolved({"memory.loss_tile_tokens=0", "context.scheme=AUTO"}).config.memory().loss_tile_tokens(), 1024);
}

TEST(ConfigContext, RefusesDegreesThatCannotWorkWithTheNearestThatCan) {
  const auto ranks = target(Command::kTrain, 8);
  const auto with = [](const std::string& scheme, const std::string& more = "name=x") {
    return Overrides{"context.scheme=" + scheme, "model.num_heads=4", "model.num_kv_heads=2", more};
  };
  expect_refusal(with("ALL_TO_ALL"), "context.scheme: 8 ranks cannot exchange 4 heads, as some would have none", ranks);
  expect_refusal(with("ALL_TO_ALL"), "the nearest degree that works is 4", ranks);
  expect_refusal(with("HYBRID", "context.group_ranks=8"), "context.group_ranks: 8 ranks cannot exchange 4 heads", ranks);
  expect_refusal(with("HYBRID", "context.group_ranks=3"),
                 "groups of 3: the nearest that divides them, with 4 heads to exchange, is 2", ranks);
  expect_refusal(with("RING", "context.group_ranks=2"), "context.group_ranks: is 2, but context.scheme RING has no", ranks);
  expect_refusal(with("AUTO", "context.group_ranks=2"), "AUTO chooses groups, too; leave it out", ranks);
  for (const char* scheme : {"RING", "ALL_GATHER", "HYBRID", "DOUBLE_RING", "AUTO"}) {
    EXPECT_NO_THROW(resolved(with(scheme), ranks)) << scheme;
  }
  // Heads are those of a rank of the tensor axis.
  expect_refusal(with("ALL_TO_ALL", "mesh={context: 4 tensor: 2}"), "4 ranks cannot exchange 2 heads", ranks);
}

TEST(ConfigContext, NamesASchemeWhereNothingIsToBeMeasured) {
  EXPECT_EQ(resolved({}, target(Command::kTrain, 4)).config.context().scheme(), config::Context::RING) << "repeats to the bit";
  EXPECT_EQ(resolved({"context.scheme=AUTO"}).config.context().scheme(), config::Context::RING) << "one rank";
  EXPECT_EQ(resolved({"context.scheme=AUTO"}, target(Command::kTrain, 4)).config.context().scheme(), config::Context::AUTO);
  const auto generate = target(Command::kGenerate);
  const LoadedConfig alone = resolved({"context={scheme: HYBRID group_ranks: 2}", "generation.prompt=a"}, generate);
  EXPECT_EQ(alone.config.context().scheme(), config::Context::RING) << "on one rank";
}

TEST(ConfigDefaults, ForgetTheMeshWhereOneRankWorks) {
  EXPECT_EQ(resolved({"mesh={context: 4}", "generation.prompt=a"}, target(Command::kGenerate)).config.mesh().context(), 1);
}

TEST(ConfigDefaults, TakeShapesFromAnImportedModel) {
  ConfigTarget to = target();
  to.read_model = [](const std::string& folder) {
    EXPECT_EQ(folder, "some/model");
    return ModelSpec{.vocabulary_size = 300,
                     .hidden_size = 96,
                     .num_heads = 3,
                     .num_kv_heads = 1,
                     .head_dim = 32,
                     .bias = ModelSpec::Bias::kQkv,
                     .rope = {.theta = 5e5, .scaling = RopeScalingType::kLlama3, .factor = 8}};
  };
  const auto config = resolved({"model.from_huggingface=some/model", "model.hidden_size=96"}, to).config;
  EXPECT_EQ(config.model().vocabulary_size(), 300);
  EXPECT_EQ(config.model().qkv_bias(), true);
  EXPECT_EQ(config.model().rope().scaling().type(), config::RopeScaling::LLAMA3);
  const RunSpec spec = make_run_spec(config);
  EXPECT_EQ(spec.model.num_heads, 3);
  EXPECT_EQ(spec.model.rope.theta, 5e5);
  EXPECT_EQ(spec.model_folder, "some/model");
  expect_refusal({"model.from_huggingface=some/model", "model.hidden_size=64"},
                 "--set model.hidden_size=64: model.hidden_size: is 64, but some/model says 96", to);
  expect_refusal({"model.from_huggingface=some/model", "model.rope.scaling.type=YARN"},
                 "model.rope.scaling.type: is YARN, but some/model says LLAMA3", to);
}

TEST(ConfigDefaults, AnImportedModelBeyondTheLimitsIsTheFaultOfItsFile) {
  ConfigTarget to = target();
  to.read_model = [](const std::string&) { ModelSpec spec;
    spec.num_layers = 100000;
    return spec; };
  try {
    resolved({"model.from_huggingface=m"}, to);
    FAIL() << "nothing was raised";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCheckpoint);
    EXPECT_STREQ(error.what(), "m/config.json: model.num_layers: is 100000; allowed is 1 to 16384");
  }
}

TEST(RunSpecOf, CarriesEverything) {
  const auto config = resolved({"seed=7", "precision=BF16", "data.holdout_every=8", "data.pack_documents=false",
                                "context.layout=STRIPED", "pipeline={schedule: GPIPE chunks_per_stage: 2 sequence_chunks: 3}",
                                "optimizer.schedule=LINEAR", "checkpoint.resume=40", "training.dump_gradients=g.safetensors",
                                "evaluation={interval_steps: 5 max_sequences: 3 sequence_length: 64}",
                                "metrics.tensorboard=false", "metrics.trace_steps=3", "metrics.trace_first_step=7",
                                "optimizer.decay_all_parameters=true", "generation.prompt_tokens=[1, 2]"})
                          .config;
  const RunSpec spec = make_run_spec(config);
  EXPECT_EQ(spec.seed, 7u);
  EXPECT_EQ(spec.compute_dtype, DType::kBFloat16);
  EXPECT_EQ(spec.data.part, DataPart::kTraining);
  EXPECT_EQ(spec.data.packing, Packing::kStream);
  ASSERT_TRUE(spec.evaluation.data);
  EXPECT_EQ(spec.evaluation.data->part, DataPart::kHeldOut);
  EXPECT_EQ(spec.evaluation.data->sequence_length, 64);
  EXPECT_EQ(spec.evaluation.max_sequences, 3);
  EXPECT_EQ(spec.layout, LayoutType::kStriped);
  EXPECT_EQ(spec.pipeline.schedule, PipelineSchedule::kGPipe);
  EXPECT_EQ(spec.pipeline.chunks_per_stage, 2);
  EXPECT_EQ(spec.pipeline.sequence_chunks, 3);
  EXPECT_EQ(spec.optimizer.schedule, ScheduleType::kLinear);
  EXPECT_EQ(spec.optimizer.decay, OptimizerSpec::Decay::kAll);
  EXPECT_EQ(spec.checkpoint.resume, CheckpointSpec::Resume::kStep);
  EXPECT_EQ(spec.checkpoint.resume_step, 40);
  EXPECT_EQ(spec.dump_gradients, "g.safetensors");
  EXPECT_EQ(spec.tensorboard, RunSpec::TensorBoard::kOff);
  EXPECT_EQ(spec.trace.num_steps, 3);
  EXPECT_EQ(spec.trace.first_step, 7);
  EXPECT_EQ(spec.generation.prompt_tokens, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(spec.resolved_configuration, print_config(config));
}

TEST(RunSpecOf, KeepsSeparateHeldOutFiles) {
  const RunSpec spec = make_run_spec(resolved({"evaluation.files=held", "data.files=", "data.blend=files: \"a\" weight: 3",
                                               "data.blend+=files: \"b\""}).config);
  EXPECT_EQ(spec.data.part, DataPart::kAll);
  ASSERT_EQ(spec.data.sources.size(), 2u);
  EXPECT_EQ(spec.data.sources[0].weight, 3);
  EXPECT_EQ(spec.evaluation.data->sources[0].files[0], "held");
  EXPECT_EQ(spec.evaluation.data->part, DataPart::kAll);
  EXPECT_FALSE(make_run_spec(resolved({}).config).evaluation.data);
}

TEST(Configs, OfTheProjectAreSound) {
  for (const char* name : {"quickstart", "golden", "long_cpu"}) {
    const std::string path = fmt::format("{}/../configs/{}.textproto", LS_TEST_DATA, name);
    LoadedConfig loaded = load_config(path, {"data.files=text"});
    EXPECT_NO_THROW(resolve(loaded, target(Command::kTrain, std::string(name) == "long_cpu" ? 4 : 2))) << name;
  }
}

}  // namespace
}  // namespace longspan
