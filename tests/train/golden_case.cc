#include "tests/train/golden_case.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "tests/support/tensors.h"
#include "train/formats/huggingface.h"

namespace longspan::test {

std::string golden(const std::string& model) { return std::string(LS_TEST_DATA) + "/golden/" + model; }

namespace {

struct StepNumbers {
  double loss, grad_norm;
};

class Collect final : public TrainObserver {
 public:
  void on_step(const StepReport& r) override { steps.push_back({r.loss, r.grad_norm}); }
  std::vector<StepNumbers> steps;
};

// The two sequences as files of 32-bit tokens.
DataSpec data_spec(const std::string& model, const Folder& folder, Form form) {
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

RunSpec spec_of(const std::string& model, const GoldenMesh& mesh, DType dtype, const nlohmann::json& adamw,
                const Folder& folder) {
  RunSpec spec;
  spec.output_directory = folder / "run";
  spec.compute_dtype = dtype;
  spec.model = read_huggingface_config(golden(model)).spec;
  spec.model_folder = golden(model);
  spec.data = data_spec(model, folder, mesh.form);
  spec.mesh = {.pipeline = mesh.pipeline, .data = mesh.data, .context = mesh.context, .tensor = mesh.tensor};
  spec.layout = mesh.layout;
  spec.sharding = mesh.sharding;
  spec.pipeline = mesh.schedule;
  spec.loss_tile_tokens = 100;
  spec.num_steps = 8;
  spec.global_batch_sequences = mesh.form == Form::kTwoDocuments ? 1 : 2;
  spec.micro_batch_sequences = mesh.form == Form::kBatchOfTwo ? 2 / mesh.data : 1;
  spec.dump_gradients = folder / "gradients.safetensors";
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
  return spec;
}

void expect_steps(const std::vector<StepNumbers>& steps, const nlohmann::json& expected, const GoldenArithmetic& arithmetic) {
  ASSERT_EQ(steps.size(), 8u);
  const double loss = expected["loss"], norm = expected["grad_norm"];
  EXPECT_NEAR(steps[0].loss, loss, arithmetic.first_loss * loss);
  EXPECT_NEAR(steps[0].grad_norm, norm, arithmetic.first_norm * norm);
  const auto& adamw = expected["adamw"];
  for (size_t i = 0; i < 8; ++i) {
    const double l = adamw["loss_and_grad_norm"][i][0], n = adamw["loss_and_grad_norm"][i][1];
    EXPECT_NEAR(steps[i].loss, l, arithmetic.losses * l) << "step " << i + 1;
    EXPECT_NEAR(steps[i].grad_norm, n, arithmetic.norms * n) << "step " << i + 1;
  }
}

void expect_gradients(const std::string& model, const std::string& file, double tolerance) {
  const SafetensorsFile want(golden(model) + "/expected_grads.safetensors"), got(file);
  for (const std::string& tensor : want.names()) {
    const auto& dims = want.info(tensor).shape;
    Shape shape;
    for (const int64_t d : dims) shape.append(d);
    std::vector<double> w(static_cast<size_t>(shape.num_elements())), g(w.size());
    want.read(tensor, shape, DType::kFloat64, w.data());
    got.read(tensor, shape, DType::kFloat64, g.data());
    EXPECT_LT(relative_error(g, w), tolerance) << tensor;
  }
}

}  // namespace

// Some forty tensors on the way forward and back are rounded to bfloat16, each by 1.7e-3 in the mean: 1.1e-2 of a gradient,
// which is what most are off by; those that are small beside their terms, up to three times that. Of a loss or a norm, sums of
// very many, it is far less; but steps carry it on.
GoldenArithmetic in_bfloat16() {
  return {.dtype = DType::kBFloat16, .first_loss = 2e-4, .losses = 1e-3, .first_norm = 5e-3, .norms = 5e-2,
          .gradients = 5e-2, .resources = [] { return RankResources{}; }};
}

void expect_golden(const std::string& model, const GoldenMesh& mesh, const GoldenArithmetic& arithmetic) {
  SCOPED_TRACE(fmt::format("{} pipeline {} data {} context {} tensor {} {} form {}", model, mesh.pipeline, mesh.data,
                           mesh.context, mesh.tensor, name(mesh.layout), static_cast<int>(mesh.form)));
  const Folder folder;
  std::ifstream expected_file(golden(model) + "/expected.json");
  const auto expected = nlohmann::json::parse(expected_file);
  const RunSpec spec = spec_of(model, mesh, arithmetic.dtype, expected["adamw"], folder);
  Collect collect;
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& threads) {
    const auto world = make_staging_communicator(threads);
    TrainObserver silent;
    TrainObserver& observer = world->rank() == 0 ? collect : silent;
    EXPECT_EQ(train(spec, *world, arithmetic.resources(), observer, [] { return false; }), TrainOutcome::kDone);
  });
  expect_steps(collect.steps, expected, arithmetic);
  expect_gradients(model, spec.dump_gradients, arithmetic.gradients);
}

}  // namespace longspan::test
