#include "launcher/config_defaults.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/nn/tiled_loss.h"
#include "launcher/config_limits.h"
#include "parallel/comm/mesh_shape.h"

namespace longspan {
namespace {

using namespace config;

// Sets a field that nobody set. The generated classes have no common interface, so the names are pasted together.
#define LS_DEFAULT(message, field, value) \
  if (!(message).has_##field()) (message).set_##field(value)

void fill_rope(Rope& rope) {
  const RopeSpec defaults;
  LS_DEFAULT(rope, theta, defaults.theta);
  RopeScaling& scaling = *rope.mutable_scaling();
  LS_DEFAULT(scaling, type, RopeScaling::NONE);
  LS_DEFAULT(scaling, factor, defaults.factor);
  LS_DEFAULT(scaling, original_max_positions, defaults.original_max_positions);
  if (scaling.type() == RopeScaling::YARN) {
    LS_DEFAULT(scaling, beta_fast, defaults.beta_fast);
    LS_DEFAULT(scaling, beta_slow, defaults.beta_slow);
    LS_DEFAULT(scaling, attention_factor, defaults.attention_factor);
  }
  if (scaling.type() == RopeScaling::LLAMA3) {
    LS_DEFAULT(scaling, low_frequency_factor, defaults.low_frequency_factor);
    LS_DEFAULT(scaling, high_frequency_factor, defaults.high_frequency_factor);
  }
}

void fill_model(Model& model) {
  const ModelSpec defaults;
  LS_DEFAULT(model, vocabulary_size, defaults.vocabulary_size);
  LS_DEFAULT(model, hidden_size, defaults.hidden_size);
  LS_DEFAULT(model, num_layers, defaults.num_layers);
  LS_DEFAULT(model, num_heads, defaults.num_heads);
  LS_DEFAULT(model, num_kv_heads, model.num_heads());
  LS_DEFAULT(model, head_dim, std::max<int64_t>(2, model.hidden_size() / model.num_heads()));
  // SwiGLU has three matrices where a plain MLP of 4 x hidden has two: 8/3 keeps the parameters; multiples of 8 vectorise.
  LS_DEFAULT(model, mlp_size, (model.hidden_size() * 8 / 3 + 7) / 8 * 8);
  LS_DEFAULT(model, norm_epsilon, defaults.norm_epsilon);
  LS_DEFAULT(model, tie_embeddings, false);
  LS_DEFAULT(model, qkv_bias, false);
  LS_DEFAULT(model, qk_norm, false);
  fill_rope(*model.mutable_rope());
}

// Takes a value from the imported model, unless the configuration insists on another.
#define LS_IMPORT(message, prefix, field, value)                                                               \
  if ((message).has_##field() && (message).field() != (value)) {                                               \
    problems.add(prefix #field, "is {}, but {} says {}; leave it out", (message).field(), folder, value); \
  }                                                                                                            \
  (message).set_##field(value)

RopeScaling::Type scaling_type(RopeScalingType type) {
  switch (type) {
    case RopeScalingType::kNone: return RopeScaling::NONE;
    case RopeScalingType::kLinear: return RopeScaling::LINEAR;
    case RopeScalingType::kNtk: return RopeScaling::NTK;
    case RopeScalingType::kYarn: return RopeScaling::YARN;
    case RopeScalingType::kLlama3: return RopeScaling::LLAMA3;
  }
  return RopeScaling::NONE;
}

void import_rope(Rope& rope, const RopeSpec& spec, const std::string& folder, ConfigProblems& problems) {
  LS_IMPORT(rope, "model.rope.", theta, spec.theta);
  RopeScaling& scaling = *rope.mutable_scaling();
  const RopeScaling::Type type = scaling_type(spec.scaling);
  if (scaling.has_type() && scaling.type() != type) {
    problems.add("model.rope.scaling.type", "is {}, but {} says {}; leave it out",
                 RopeScaling::Type_Name(scaling.type()), folder, RopeScaling::Type_Name(type));
  }
  scaling.set_type(type);
  if (type == RopeScaling::NONE) return;
  LS_IMPORT(scaling, "model.rope.scaling.", factor, spec.factor);
  LS_IMPORT(scaling, "model.rope.scaling.", original_max_positions, spec.original_max_positions);
  if (type == RopeScaling::YARN) {
    LS_IMPORT(scaling, "model.rope.scaling.", beta_fast, spec.beta_fast);
    LS_IMPORT(scaling, "model.rope.scaling.", beta_slow, spec.beta_slow);
    LS_IMPORT(scaling, "model.rope.scaling.", attention_factor, spec.attention_factor);
  }
  if (type == RopeScaling::LLAMA3) {
    LS_IMPORT(scaling, "model.rope.scaling.", low_frequency_factor, spec.low_frequency_factor);
    LS_IMPORT(scaling, "model.rope.scaling.", high_frequency_factor, spec.high_frequency_factor);
  }
}

void import_model(Model& model, const ModelSpec& spec, ConfigProblems& problems) {
  const std::string folder = model.from_huggingface();
  LS_IMPORT(model, "model.", vocabulary_size, spec.vocabulary_size);
  LS_IMPORT(model, "model.", hidden_size, spec.hidden_size);
  LS_IMPORT(model, "model.", num_layers, spec.num_layers);
  LS_IMPORT(model, "model.", num_heads, spec.num_heads);
  LS_IMPORT(model, "model.", num_kv_heads, spec.num_kv_heads);
  LS_IMPORT(model, "model.", head_dim, spec.head_dim);
  LS_IMPORT(model, "model.", mlp_size, spec.mlp_size);
  LS_IMPORT(model, "model.", norm_epsilon, spec.norm_epsilon);
  LS_IMPORT(model, "model.", tie_embeddings, spec.tie_embeddings == ModelSpec::Tie::kYes);
  LS_IMPORT(model, "model.", qkv_bias, spec.bias == ModelSpec::Bias::kQkv);
  LS_IMPORT(model, "model.", qk_norm, spec.qk_norm == ModelSpec::QkNorm::kYes);
  import_rope(*model.mutable_rope(), spec.rope, folder, problems);
}

// A model of absurd sizes is the fault of its file, which no field of the configuration could mend.
void check_imported(const Model& model) {
  RunConfig alone;
  *alone.mutable_model() = model;
  const ConfigOrigins nowhere;
  ConfigProblems problems(nowhere);
  check_limits(alone, problems);
  if (!problems.empty()) {
    raise(ErrorKind::kCheckpoint, "{}/config.json: {}", model.from_huggingface(), problems.text("; "));
  }
}

void drop_empty(google::protobuf::RepeatedPtrField<std::string>& files) {
  for (int i = files.size() - 1; i >= 0; --i) {
    if (files.Get(i).empty()) files.DeleteSubrange(i, 1);
  }
}

void fill_data(RunConfig& c) {
  Data& data = *c.mutable_data();
  drop_empty(*data.mutable_files());
  for (Data::Source& source : *data.mutable_blend()) {
    drop_empty(*source.mutable_files());
    LS_DEFAULT(source, weight, 1);
  }
  LS_DEFAULT(data, format, Data::TEXT);
  LS_DEFAULT(data, sequence_length, 2048);
  LS_DEFAULT(data, pack_documents, true);
  LS_DEFAULT(data, holdout_every, 0);
  Evaluation& evaluation = *c.mutable_evaluation();
  drop_empty(*evaluation.mutable_files());
  LS_DEFAULT(evaluation, interval_steps, 0);
  LS_DEFAULT(evaluation, max_sequences, 0);
  LS_DEFAULT(evaluation, sequence_length, data.sequence_length());
}

// The limits of an axis are less than an int holds.
MeshShape shape_of(const Mesh& mesh) {
  return {.pipeline = static_cast<int>(mesh.pipeline()),
          .data = static_cast<int>(mesh.data()),
          .context = static_cast<int>(mesh.context()),
          .tensor = static_cast<int>(mesh.tensor())};
}

void fill_mesh(Mesh& mesh, const ConfigTarget& target, ConfigProblems& problems) {
  if (target.command == Command::kGenerate) {
    mesh.Clear();  // it runs on one rank, whatever mesh the model was trained on
  } else if (!mesh.has_pipeline() && !mesh.has_data() && !mesh.has_context() && !mesh.has_tensor()) {
    mesh.set_context(std::max(1, target.num_ranks));
  }
  LS_DEFAULT(mesh, pipeline, 1);
  LS_DEFAULT(mesh, data, 1);
  LS_DEFAULT(mesh, context, 1);
  LS_DEFAULT(mesh, tensor, 1);
  if (target.command == Command::kGenerate) return;
  const int64_t product = shape_of(mesh).product();
  if (target.ranks == ConfigTarget::Ranks::kThreads) {
    constexpr int64_t kMostThreads = 64;
    if (product > kMostThreads) {
      problems.add("mesh", "has {} ranks, more than the {} that one process runs as its threads; use mpirun or srun", product,
                   kMostThreads);
    }
  } else if (target.ranks == ConfigTarget::Ranks::kPlanned) {
    if (product == target.num_ranks || (target.num_ranks == 0 && product <= kMostPlannedRanks)) return;
    const int64_t others = std::max<int64_t>(1, product / std::max<int64_t>(1, mesh.data()));
    problems.add("mesh", "{} has {} ranks, but the plan is for {} rank{}: change one of the two{}", shape_of(mesh).to_string(),
                 product,
                 target.num_ranks == 0 ? "at most " + std::to_string(kMostPlannedRanks) : std::to_string(target.num_ranks),
                 target.num_ranks == 1 ? "" : "s",
                 target.num_ranks > 0 && target.num_ranks % others == 0
                     ? fmt::format("; mesh.data {} makes them equal", target.num_ranks / others)
                     : std::string());
  } else if (const std::string mismatch = mesh_mismatch(shape_of(mesh), target.num_ranks); !mismatch.empty()) {
    problems.add("mesh", "{}", mismatch);
  }
}

void fill_plans(RunConfig& c) {
  config::Context& context = *c.mutable_context();
  LS_DEFAULT(context, scheme, config::Context::RING);
  if (c.mesh().context() == 1 && context.scheme() == config::Context::AUTO) context.set_scheme(config::Context::RING);
  LS_DEFAULT(context, layout, config::Context::ZIGZAG);
  Pipeline& pipeline = *c.mutable_pipeline();
  LS_DEFAULT(pipeline, chunks_per_stage, 1);
  LS_DEFAULT(pipeline, sequence_chunks, 1);
  if (pipeline.schedule() == Pipeline::AUTO) {
    const bool one_chunk = pipeline.chunks_per_stage() == 1;
    const auto one_by_one = pipeline.sequence_chunks() > 1 ? Pipeline::SEQUENCE_CHUNKED : Pipeline::ONE_F_ONE_B;
    pipeline.set_schedule(one_chunk ? one_by_one : Pipeline::INTERLEAVED);
  }
  LS_DEFAULT(*c.mutable_sharding(), state, Sharding::NONE);
  Memory& memory = *c.mutable_memory();
  LS_DEFAULT(memory, recompute, Recompute::NONE);
  LS_DEFAULT(memory, offload, Offload::NONE);
  const DeviceType device = c.device() == RunConfig::CUDA ? DeviceType::kCuda : DeviceType::kCpu;
  if (memory.loss_tile_tokens() == 0) memory.set_loss_tile_tokens(TiledLoss::default_tile_tokens(device));
  LS_DEFAULT(memory, mlp_tile_tokens, 0);
  Recurrence& recurrence = *c.mutable_recurrence();
  LS_DEFAULT(recurrence, mode, Recurrence::NONE);
  LS_DEFAULT(recurrence, segment_tokens, 0);
  LS_DEFAULT(recurrence, memory_tokens, 0);
}

void fill_training(RunConfig& c) {
  Optimizer& optimizer = *c.mutable_optimizer();
  LS_DEFAULT(optimizer, learning_rate, 1e-3);
  LS_DEFAULT(optimizer, minimum_learning_rate, optimizer.learning_rate() / 10);
  LS_DEFAULT(optimizer, warmup_steps, 0);
  LS_DEFAULT(optimizer, schedule, Optimizer::COSINE);
  LS_DEFAULT(optimizer, beta1, 0.9);
  LS_DEFAULT(optimizer, beta2, 0.95);
  LS_DEFAULT(optimizer, epsilon, 1e-8);
  LS_DEFAULT(optimizer, weight_decay, 0.1);
  LS_DEFAULT(optimizer, decay_all_parameters, false);
  LS_DEFAULT(optimizer, gradient_clip, 1);
  Training& training = *c.mutable_training();
  LS_DEFAULT(training, steps, 100);
  LS_DEFAULT(training, micro_batch_sequences, 1);
  LS_DEFAULT(training, global_batch_sequences, training.micro_batch_sequences() * c.mesh().data());
  LS_DEFAULT(training, dump_gradients, "");
  Checkpoint& checkpoint = *c.mutable_checkpoint();
  LS_DEFAULT(checkpoint, interval_steps, 0);
  LS_DEFAULT(checkpoint, keep, 2);
  LS_DEFAULT(checkpoint, resume, Checkpoint::LATEST);
}

void fill_rest(RunConfig& c) {
  LS_DEFAULT(c, name, "run");
  LS_DEFAULT(c, seed, 1);
  if (c.device() == RunConfig::AUTO) c.set_device(RunConfig::CPU);
  LS_DEFAULT(c, precision, Precision::FP32);
  LS_DEFAULT(c, threads_per_rank, 0);
  Cpu& cpu = *c.mutable_cpu();
  LS_DEFAULT(cpu, level, Cpu::AUTO);
  Metrics& metrics = *c.mutable_metrics();
  LS_DEFAULT(metrics, tensorboard, true);
  LS_DEFAULT(metrics, trace_steps, 0);
  LS_DEFAULT(metrics, trace_first_step, 0);
  LS_DEFAULT(metrics, plot, true);
  LS_DEFAULT(metrics, progress, Metrics::AUTO);
  Generation& generation = *c.mutable_generation();
  LS_DEFAULT(generation, max_tokens, 256);
  LS_DEFAULT(generation, temperature, 0);
  LS_DEFAULT(generation, top_k, 0);
  Communication& communication = *c.mutable_communication();
  LS_DEFAULT(communication, timeout_seconds, 300);
  LS_DEFAULT(communication, device_sharing, false);
  LS_DEFAULT(communication, max_multiprocessors, 0);
}

#undef LS_DEFAULT
#undef LS_IMPORT

}  // namespace

void fill_defaults(RunConfig& c, const ConfigTarget& target, ConfigProblems& problems) {
  const bool shapes_known = c.model().has_vocabulary_size() || !c.model().from_huggingface().empty();
  const bool bytes = c.data().format() == Data::TEXT;
  if (!shapes_known && !bytes) {
    problems.add("model.vocabulary_size", "is not set; data.format {} does not say how many tokens there are",
                 Data::Format_Name(c.data().format()));
  }
  Model& model = *c.mutable_model();
  if (!model.from_huggingface().empty()) {
    import_model(model, target.read_model(model.from_huggingface()), problems);
    check_imported(model);
  }
  if (!model.has_initializer_range()) model.set_initializer_range(ModelSpec{}.initializer_range);
  if (!model.attention().has_type()) model.mutable_attention()->set_type(Attention::FULL);
  fill_model(model);
  fill_data(c);
  fill_mesh(*c.mutable_mesh(), target, problems);
  if (target.command == Command::kGenerate) c.clear_context();  // its one rank shares no sequence
  fill_plans(c);
  fill_training(c);
  fill_rest(c);
}

}  // namespace longspan
