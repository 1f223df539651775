#include "launcher/run_benchmark.h"

#include <algorithm>

#include "core/runtime/cuda.h"
#include "launcher/bench_attention.h"
#include "launcher/bench_elementwise.h"
#include "launcher/bench_gemm.h"
#include "launcher/bench_loss.h"
#include "launcher/bench_pipeline.h"
#include "launcher/bench_ring.h"
#include "launcher/bench_step.h"
#include "launcher/config_spec.h"
#include "launcher/exit_status.h"
#include "train/formats/huggingface.h"

namespace longspan {
namespace {

using config::RunConfig;

// On a CPU one thread unless more are asked for: it is timed by its CPU time, which other work on the machine does not distort.
BenchMachine machine_of(const RunConfig& config, const RankResources& resources) {
  BenchMachine machine{.resources = resources};
  if (machine.on_cpu()) {
    machine.resources.num_threads = std::max(1, static_cast<int>(config.threads_per_rank()));
  } else {
    machine.name = cuda_device_facts(resources.device.ordinal).name;
  }
  return machine;
}

// Both, unless one of them is asked for: AUTO is for runs.
std::vector<DType> dtypes_of(const RunConfig& config) {
  const bool both = !config.has_precision() || config.precision() == config::Precision::AUTO;
  if (both) return {DType::kFloat32, DType::kBFloat16};
  return {config.precision() == config::Precision::BF16 ? DType::kBFloat16 : DType::kFloat32};
}

// What is set narrows the cases down; the length alone may be any. Those of a device are in bfloat16; in float32, for which it
// has no matrix instructions, long ones would take minutes.
BenchAttentionOptions attention_options(const RunConfig& config, const BenchMachine& machine) {
  constexpr int64_t kLongestInFloat32 = 8192;
  BenchAttentionOptions options{.machine = machine};
  const std::vector<DType> dtypes = dtypes_of(config);
  for (BenchAttentionOptions::Case one : BenchAttentionOptions::default_cases(machine.resources.device.type)) {
    if (!machine.on_cpu() && dtypes == std::vector{DType::kFloat32}) {
      if (one.num_tokens > kLongestInFloat32) one.num_tokens = kLongestInFloat32;
      one.dtype = DType::kFloat32;
    }
    if (std::find(dtypes.begin(), dtypes.end(), one.dtype) == dtypes.end()) continue;
    if (config.model().has_head_dim()) one.head_dim = config.model().head_dim();
    if (config.data().has_sequence_length()) one.num_tokens = config.data().sequence_length();
    if (std::find(options.cases.begin(), options.cases.end(), one) == options.cases.end()) options.cases.push_back(one);
  }
  return options;
}

BenchElementwiseOptions elementwise_options(const RunConfig& config, const BenchMachine& machine) {
  BenchElementwiseOptions options{.machine = machine};
  if (!machine.on_cpu()) {
    options.hidden_size = 4096;
    options.vocabulary_size = 131072;
    options.loss_tokens = 2048;
  }
  if (config.model().has_hidden_size()) options.hidden_size = config.model().hidden_size();
  options.dtypes = dtypes_of(config);
  return options;
}

BenchGemmOptions gemm_options(const RunConfig& config, const BenchMachine& machine) {
  BenchGemmOptions options{.machine = machine};
  if (!machine.on_cpu()) options.hidden_sizes = {2048, 4096, 8192};
  if (config.model().has_hidden_size()) options.hidden_sizes = {config.model().hidden_size()};
  if (config.data().has_sequence_length()) options.num_tokens = config.data().sequence_length();
  options.dtypes = dtypes_of(config);
  return options;
}

BenchLossOptions loss_options(const RunConfig& config, const BenchMachine& machine) {
  BenchLossOptions options{.machine = machine};
  if (!machine.on_cpu()) {
    options.hidden_size = 4096;
    options.vocabulary_sizes = {32768, 131072};
  }
  const config::Model& model = config.model();
  if (model.has_hidden_size()) options.hidden_size = model.hidden_size();
  if (model.has_vocabulary_size()) options.vocabulary_sizes = {model.vocabulary_size()};
  if (config.memory().loss_tile_tokens() > 0) options.tile_tokens = {config.memory().loss_tile_tokens()};
  options.dtypes = dtypes_of(config);
  return options;
}

BenchPipelineOptions pipeline_options(const RunConfig& config) {
  BenchPipelineOptions options;
  if (config.mesh().has_pipeline()) options.ranks = {static_cast<int>(config.mesh().pipeline())};
  return options;
}

BenchRingOptions ring_options(const RunConfig& config, const RankResources& resources) {
  BenchRingOptions options{.level = resources.cpu_level, .num_threads = resources.num_threads};
  const config::Model& model = config.model();
  if (model.has_head_dim()) options.head_dim = model.head_dim();
  if (model.has_num_heads()) options.num_heads = options.num_kv_heads = model.num_heads();
  if (model.has_num_kv_heads()) options.num_kv_heads = model.num_kv_heads();
  if (config.data().has_sequence_length()) options.num_tokens = config.data().sequence_length();
  return options;
}

// A model that fills a GPU of 24 GB. What is set replaces a part of it.
void fill_gpu_model(RunConfig& config) {
  config::Model& model = *config.mutable_model();
  if (!model.has_vocabulary_size()) model.set_vocabulary_size(32768);
  if (!model.has_hidden_size()) model.set_hidden_size(2048);
  if (!model.has_num_layers()) model.set_num_layers(8);
  if (!model.has_num_heads()) model.set_num_heads(16);
  if (!model.has_head_dim()) model.set_head_dim(128);
  if (!config.data().has_sequence_length()) config.mutable_data()->set_sequence_length(16384);
}

BenchStepOptions step_options(const RunConfig& config, const BenchMachine& machine) {
  BenchStepOptions options{.machine = machine};
  options.dtypes = dtypes_of(config);
  // Attention in float32 is for checks there, and would take minutes.
  if (!machine.on_cpu() && options.dtypes.size() > 1) options.dtypes = {DType::kBFloat16};
  LoadedConfig whole{.config = config, .origins = {}};
  if (config.model().from_huggingface().empty()) {
    if (!machine.on_cpu()) fill_gpu_model(whole.config);
    if (!whole.config.model().has_vocabulary_size()) whole.config.mutable_model()->set_vocabulary_size(256);
  }
  whole.config.mutable_data()->set_format(config::Data::TOKENS_U32);
  resolve(whole, {.command = Command::kVerify, .read_model = [](const std::string& path) {
                    return read_huggingface_config(path).spec;
                  }});
  options.run = make_run_spec(whole.config);
  return options;
}

}  // namespace

int run_benchmark(const std::string& name, const RunConfig& config, const RankResources& resources, Communicator& world,
                  std::ostream& out) {
  if (name == "ring") {
    bench_ring(ring_options(config, resources), world, out);
    return kExitDone;
  }
  if (name == "pipeline") {
    bench_pipeline(pipeline_options(config), out);
    return kExitDone;
  }
  const BenchMachine machine = machine_of(config, resources);
  if (name == "attention") bench_attention(attention_options(config, machine), out);
  if (name == "elementwise") bench_elementwise(elementwise_options(config, machine), out);
  if (name == "gemm") bench_gemm(gemm_options(config, machine), out);
  if (name == "loss") bench_loss(loss_options(config, machine), out);
  if (name == "step") bench_step(step_options(config, machine), out);
  return kExitDone;
}

}  // namespace longspan
