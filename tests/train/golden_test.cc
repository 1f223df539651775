// tests/golden against this program: what an independent fp32 implementation computed for tiny models of each family (logits
// are compared through the losses), through the same train() that users run, on every mesh and layout.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/decoder.h"
#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "tests/support/tensors.h"
#include "train/formats/huggingface.h"
#include "train/rank_context.h"
#include "train/train.h"

namespace longspan {
namespace {

std::string golden(const std::string& model) { return std::string(LS_TEST_DATA) + "/golden/" + model; }

struct StepNumbers {
  double loss, grad_norm;
};

class Collect final : public TrainObserver {
 public:
  void on_step(const StepReport& r) override { steps.push_back({r.loss, r.grad_norm}); }
  std::vector<StepNumbers> steps;
};

enum class Form { kBatchOfTwo, kTwoDocuments, kTwoMicrobatches };

// The two sequences as files of 32-bit tokens.
DataSpec data_spec(const std::string& model, const test::Folder& folder, Form form) {
  const SafetensorsFile file(golden(model) + "/expected_logits.safetensors");
  const int64_t length = file.info("tokens").shape.at(1);
  std::vector<int32_t> tokens(static_cast<size_t>(2 * length));
  file.read("tokens", {2, length}, DType::kInt32, tokens.data());
  const auto write = [&](const std::string& name, int64_t begin, int64_t end) {
    std::ofstream out(folder / name, std::ios::binary);
    out.write(reinterpret_cast<const char*>(tokens.data() + begin), static_cast<std::streamsize>(4 * (end - begin)));
    return folder / name;
  };
  DataSpec spec;
  spec.format = DataFormat::kTokensU32;
  if (form == Form::kTwoDocuments) {
    spec.sources = {{.files = {write("a.u32", 0, length), write("b.u32", length, 2 * length)}}};
    spec.packing = Packing::kDocuments;
    spec.sequence_length = 2 * length;
  } else {
    spec.sources = {{.files = {write("all.u32", 0, 2 * length)}}};
    spec.packing = Packing::kStream;
    spec.sequence_length = length;
  }
  return spec;
}

struct Mesh {
  int data, context;
  LayoutType layout;
  Form form;
};

// What a run computes in, and how near it has to come.
struct Arithmetic {
  DType dtype = DType::kFloat32;
  CpuLevel level = detect_cpu_level();
  double first_loss = 1e-6, losses = 1e-5, first_norm = 1e-5, norms = 1e-5, gradients = 1e-5;
};

// Some forty tensors on the way forward and back are rounded to bfloat16, each by 1.7e-3 in the mean: 1.1e-2 of a gradient,
// which is what most are off by; those that are small beside their terms, up to three times that. Of a loss or a norm, sums of
// very many, it is far less; but steps carry it on.
Arithmetic in_bfloat16(CpuLevel level) {
  return {.dtype = DType::kBFloat16, .level = level, .first_loss = 2e-4, .losses = 1e-3, .first_norm = 5e-3, .norms = 5e-2,
          .gradients = 5e-2};
}

void expect_golden(const std::string& model, const Mesh& mesh, const Arithmetic& arithmetic = {}) {
  SCOPED_TRACE(fmt::format("{} data {} context {} {} form {}", model, mesh.data, mesh.context, name(mesh.layout),
                           static_cast<int>(mesh.form)));
  const test::Folder folder;
  RunSpec spec;
  spec.output_directory = folder / "run";
  spec.compute_dtype = arithmetic.dtype;
  spec.model = read_huggingface_config(golden(model)).spec;
  spec.model_folder = golden(model);
  spec.data = data_spec(model, folder, mesh.form);
  spec.mesh = {.pipeline = 1, .data = mesh.data, .context = mesh.context, .tensor = 1};
  spec.layout = mesh.layout;
  spec.loss_tile_tokens = 100;
  spec.num_steps = 8;
  spec.global_batch_sequences = mesh.form == Form::kTwoDocuments ? 1 : 2;
  spec.micro_batch_sequences = mesh.form == Form::kBatchOfTwo ? 2 / mesh.data : 1;
  spec.dump_gradients = folder / "gradients.safetensors";
  std::ifstream expected_file(golden(model) + "/expected.json");
  const auto expected = nlohmann::json::parse(expected_file);
  const auto& adamw = expected["adamw"];
  spec.optimizer = {.learning_rate = adamw["lr"],
                    .minimum_learning_rate = 0,
                    .warmup_steps = 0,
                    .schedule = ScheduleType::kConstant,
                    .beta1 = adamw["betas"][0],
                    .beta2 = adamw["betas"][1],
                    .epsilon = adamw["eps"],
                    .weight_decay = adamw["weight_decay"],
                    .decay = OptimizerSpec::Decay::kAll,
                    .gradient_clip = adamw["clip"]};
  Collect collect;
  run_in_process(mesh.data * mesh.context, [&](Communicator& world) {
    TrainObserver silent;
    TrainObserver& observer = world.rank() == 0 ? collect : silent;
    EXPECT_EQ(train(spec, world, {.cpu_level = arithmetic.level}, observer, [] { return false; }), TrainOutcome::kDone);
  });

  ASSERT_EQ(collect.steps.size(), 8u);
  const double loss = expected["loss"], norm = expected["grad_norm"];
  EXPECT_NEAR(collect.steps[0].loss, loss, arithmetic.first_loss * loss);
  EXPECT_NEAR(collect.steps[0].grad_norm, norm, arithmetic.first_norm * norm);
  for (size_t i = 0; i < 8; ++i) {
    const double l = adamw["loss_and_grad_norm"][i][0], n = adamw["loss_and_grad_norm"][i][1];
    EXPECT_NEAR(collect.steps[i].loss, l, arithmetic.losses * l) << "step " << i + 1;
    EXPECT_NEAR(collect.steps[i].grad_norm, n, arithmetic.norms * n) << "step " << i + 1;
  }
  const SafetensorsFile want(golden(model) + "/expected_grads.safetensors"), got(spec.dump_gradients);
  for (const std::string& tensor : want.names()) {
    const auto& dims = want.info(tensor).shape;
    Shape shape;
    for (const int64_t d : dims) shape.append(d);
    std::vector<double> w(static_cast<size_t>(shape.num_elements())), g(w.size());
    want.read(tensor, shape, DType::kFloat64, w.data());
    got.read(tensor, shape, DType::kFloat64, g.data());
    EXPECT_LT(test::relative_error(g, w), arithmetic.gradients) << tensor;
  }
}

class GoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(GoldenTest, OneRank) {
  expect_golden(GetParam(), {1, 1, LayoutType::kContiguous, Form::kBatchOfTwo});
  expect_golden(GetParam(), {1, 1, LayoutType::kZigzag, Form::kTwoDocuments});
  expect_golden(GetParam(), {1, 1, LayoutType::kZigzag, Form::kTwoMicrobatches});
}

TEST_P(GoldenTest, ContextRanks) {
  for (const int ranks : {2, 3, 4}) {
    for (const auto layout : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
      expect_golden(GetParam(), {1, ranks, layout, ranks == 3 ? Form::kTwoDocuments : Form::kBatchOfTwo});
    }
  }
  expect_golden(GetParam(), {1, 2, LayoutType::kZigzag, Form::kTwoDocuments});
  expect_golden(GetParam(), {1, 4, LayoutType::kStriped, Form::kTwoDocuments});
  expect_golden(GetParam(), {1, 3, LayoutType::kZigzag, Form::kBatchOfTwo});
}

TEST_P(GoldenTest, DataAndContextRanks) {
  for (const auto layout : {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped}) {
    expect_golden(GetParam(), {2, 2, layout, Form::kBatchOfTwo});
  }
}

TEST_P(GoldenTest, EveryLevel) {
  for (const CpuLevel level : supported_cpu_levels()) {
    SCOPED_TRACE(name(level));
    const Mesh mesh = {1, 2, LayoutType::kZigzag, Form::kTwoDocuments};
    if (level != detect_cpu_level()) expect_golden(GetParam(), mesh, {.level = level});
    expect_golden(GetParam(), mesh, in_bfloat16(level));
  }
}

// Through the key-value cache, a piece of uneven length at a time; each piece's last logits against the expected ones.
TEST_P(GoldenTest, LogitsWithACache) {
  const std::string model = GetParam();
  RankContext rank(DType::kFloat32, {});
  Context& context = rank.context();
  const auto alone = make_self_communicator();
  Decoder decoder(read_huggingface_config(golden(model)).spec, *alone, 64);
  decoder.parameters().materialize(context, ParameterSet::Purpose::kInference);
  const HuggingFaceWeights weights(golden(model));
  for (const auto& p : decoder.parameters().all()) weights.read_into(p->name, p->master);
  const SafetensorsFile file(golden(model) + "/expected_logits.safetensors");
  const int64_t length = file.info("logits").shape.at(1), vocabulary = file.info("logits").shape.at(2);
  std::vector<int32_t> tokens(static_cast<size_t>(2 * length));
  file.read("tokens", {2, length}, DType::kInt32, tokens.data());
  for (int64_t row = 0; row < 2; ++row) {
    auto memories = decoder.empty_memories(context, length);
    for (int64_t begin = 0, piece = 1; begin < length; begin += piece, piece = piece % 7 + 3) {
      const int64_t end = std::min(begin + piece, length);
      const Tensor ids = context.empty({end - begin}, DType::kInt32);
      std::copy_n(tokens.data() + row * length + begin, end - begin, ids.data<int32_t>());
      const auto got = test::values(decoder.continue_from(context, ids, memories));
      std::vector<double> want(static_cast<size_t>(vocabulary));
      file.read_elements("logits", (row * length + end - 1) * vocabulary, vocabulary, DType::kFloat64, want.data());
      ASSERT_LT(test::relative_error(got, want), 1e-5) << "row " << row << ", token " << end - 1;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenTest, testing::Values("llama", "llama_llama3rope", "llama_linear_tied", "llama_yarn", "mistral", "qwen2",
                                         "qwen3"),
                         [](const auto& i) { return std::string(i.param); });

}  // namespace
}  // namespace longspan
