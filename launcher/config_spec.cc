#include "launcher/config_spec.h"

#include "launcher/config_limits.h"
#include "train/check_mesh.h"
#include "train/pipeline_plan.h"

namespace longspan {
namespace {

RopeSpec rope_spec(const config::Rope& rope) {
  const config::RopeScaling& scaling = rope.scaling();
  RopeSpec spec{.theta = rope.theta(),
                .scaling = static_cast<RopeScalingType>(scaling.type()),
                .factor = scaling.factor(),
                .original_max_positions = scaling.original_max_positions()};
  if (scaling.has_beta_fast()) spec.beta_fast = scaling.beta_fast();
  if (scaling.has_beta_slow()) spec.beta_slow = scaling.beta_slow();
  if (scaling.has_attention_factor()) spec.attention_factor = scaling.attention_factor();
  if (scaling.has_low_frequency_factor()) spec.low_frequency_factor = scaling.low_frequency_factor();
  if (scaling.has_high_frequency_factor()) spec.high_frequency_factor = scaling.high_frequency_factor();
  return spec;
}

// The enums of the schema and of the specifications list the same values in the same order.
static_assert(static_cast<int>(RopeScalingType::kLlama3) == config::RopeScaling::LLAMA3);
static_assert(static_cast<int>(RopeScalingType::kYarn) == config::RopeScaling::YARN);
static_assert(static_cast<int>(DataFormat::kMegatron) == config::Data::MEGATRON);
static_assert(static_cast<int>(ContextScheme::kDoubleRing) + config::Context::RING == config::Context::DOUBLE_RING);
static_assert(static_cast<int>(LayoutType::kArea) == config::Context::AREA);
static_assert(static_cast<int>(LayoutType::kStriped) == config::Context::STRIPED);
static_assert(static_cast<int>(LayoutType::kZigzag) == config::Context::ZIGZAG);
static_assert(static_cast<int>(ScheduleType::kConstant) == config::Optimizer::CONSTANT);
static_assert(static_cast<int>(ScheduleType::kLinear) == config::Optimizer::LINEAR);

ModelSpec model_spec(const config::Model& model) {
  return {.vocabulary_size = model.vocabulary_size(),
          .hidden_size = model.hidden_size(),
          .num_layers = model.num_layers(),
          .num_heads = model.num_heads(),
          .num_kv_heads = model.num_kv_heads(),
          .head_dim = model.head_dim(),
          .mlp_size = model.mlp_size(),
          .norm_epsilon = model.norm_epsilon(),
          .initializer_range = model.initializer_range(),
          .tie_embeddings = model.tie_embeddings() ? ModelSpec::Tie::kYes : ModelSpec::Tie::kNo,
          .bias = model.qkv_bias() ? ModelSpec::Bias::kQkv : ModelSpec::Bias::kNone,
          .qk_norm = model.qk_norm() ? ModelSpec::QkNorm::kYes : ModelSpec::QkNorm::kNo,
          .rope = rope_spec(model.rope())};
}

DataSource source_of(const google::protobuf::RepeatedPtrField<std::string>& files, double weight) {
  return {.files = {files.begin(), files.end()}, .weight = weight};
}

DataSpec data_spec(const config::Data& data) {
  DataSpec spec{.format = static_cast<DataFormat>(data.format()),
                .sources = {},
                .sequence_length = data.sequence_length(),
                .packing = data.pack_documents() ? Packing::kDocuments : Packing::kStream,
                .holdout_every = data.holdout_every(),
                .part = data.holdout_every() > 0 ? DataPart::kTraining : DataPart::kAll};
  if (data.files_size() > 0) spec.sources.push_back(source_of(data.files(), 1));
  for (const auto& source : data.blend()) spec.sources.push_back(source_of(source.files(), source.weight()));
  return spec;
}

EvaluationSpec evaluation_spec(const config::RunConfig& c) {
  const config::Evaluation& evaluation = c.evaluation();
  EvaluationSpec spec{.data = std::nullopt,
                      .interval_steps = evaluation.interval_steps(),
                      .max_sequences = evaluation.max_sequences()};
  if (evaluation.files_size() == 0 && c.data().holdout_every() == 0) return spec;
  spec.data = data_spec(c.data());
  spec.data->sequence_length = evaluation.sequence_length();
  if (evaluation.files_size() > 0) {
    spec.data->sources = {source_of(evaluation.files(), 1)};
  } else {
    spec.data->part = DataPart::kHeldOut;
  }
  return spec;
}

OptimizerSpec optimizer_spec(const config::Optimizer& optimizer) {
  using Decay = OptimizerSpec::Decay;
  return {.learning_rate = optimizer.learning_rate(),
          .minimum_learning_rate = optimizer.minimum_learning_rate(),
          .warmup_steps = optimizer.warmup_steps(),
          .schedule = static_cast<ScheduleType>(optimizer.schedule()),
          .beta1 = optimizer.beta1(),
          .beta2 = optimizer.beta2(),
          .epsilon = optimizer.epsilon(),
          .weight_decay = optimizer.weight_decay(),
          .decay = optimizer.decay_all_parameters() ? Decay::kAll : Decay::kMatrices,
          .gradient_clip = optimizer.gradient_clip()};
}

CheckpointSpec checkpoint_spec(const config::Checkpoint& checkpoint) {
  using Resume = CheckpointSpec::Resume;
  CheckpointSpec spec{.interval_steps = checkpoint.interval_steps(), .keep = checkpoint.keep()};
  if (checkpoint.resume() == config::Checkpoint::NONE) {
    spec.resume = Resume::kNone;
  } else if (checkpoint.resume() != config::Checkpoint::LATEST) {
    spec.resume = Resume::kStep;
    spec.resume_step = checkpoint.resume();
  }
  return spec;
}

GenerationSpec generation_spec(const config::Generation& generation) {
  GenerationSpec spec{.prompt = generation.prompt(),
                      .prompt_tokens = {},
                      .max_tokens = generation.max_tokens(),
                      .temperature = generation.temperature(),
                      .top_k = generation.top_k()};
  for (const int64_t token : generation.prompt_tokens()) spec.prompt_tokens.push_back(static_cast<int32_t>(token));
  return spec;
}

PipelineSpec pipeline_spec(const config::Pipeline& pipeline) {
  PipelineSpec spec{.chunks_per_stage = static_cast<int>(pipeline.chunks_per_stage()),
                    .sequence_chunks = static_cast<int>(pipeline.sequence_chunks())};
  switch (pipeline.schedule()) {
    case config::Pipeline::GPIPE: spec.schedule = PipelineSchedule::kGPipe; break;
    case config::Pipeline::INTERLEAVED: spec.schedule = PipelineSchedule::kInterleaved; break;
    case config::Pipeline::ZERO_BUBBLE: spec.schedule = PipelineSchedule::kZeroBubble; break;
    default: spec.schedule = PipelineSchedule::kOneForwardOneBackward;
  }
  return spec;
}

// By what the run will do itself. One stage that works on one whole microbatch after the other does nothing that could be
// refused.
void check_pipeline(const RunSpec& spec, ConfigProblems& problems) {
  const PipelineSpec& p = spec.pipeline;
  const bool chunked = p.chunks_per_stage > 1 || p.sequence_chunks > 1;
  if (spec.mesh.pipeline == 1 && p.schedule == PipelineSchedule::kOneForwardOneBackward && !chunked) return;
  try {
    plan_pipeline(spec);
  } catch (const Error& error) {
    const std::string text = error.what();
    const size_t colon = text.find(": ");
    if (error.kind() != ErrorKind::kConfiguration || colon == std::string::npos) throw;
    problems.add(text.substr(0, colon), "{}", text.substr(colon + 2));
  }
}

void check_spread(const config::RunConfig& config, Command command, ConfigProblems& problems) {
  const RunSpec spec = make_run_spec(config);
  const MeshUse use = command == Command::kEvaluate ? MeshUse::kInference : MeshUse::kTraining;
  for (const FieldProblem& problem : mesh_problems(spec, spec.mesh.product(), use)) {
    problems.add(problem.field, "{}", problem.what);
  }
  if (problems.empty() && use == MeshUse::kTraining) check_pipeline(spec, problems);
}

}  // namespace

void resolve(LoadedConfig& loaded, const ConfigTarget& target) {
  ConfigProblems values(loaded.origins);
  check_limits(loaded.config, values);
  check_support(loaded.config, values);
  if (target.command == Command::kBench) check_bench(loaded.config, target.bench, values);
  values.raise_if_any();  // defaults derive from what is set, so that has to be sound first
  if (target.command == Command::kBench) return;
  ConfigProblems choices(loaded.origins);
  fill_defaults(loaded.config, target, choices);
  check_limits(loaded.config, choices);
  choices.raise_if_any();
  ConfigProblems contradictions(loaded.origins);
  for (const FieldProblem& problem : problems_of(model_spec(loaded.config.model()))) {
    contradictions.add("model." + problem.field, "{}", problem.what);
  }
  check_consistency(loaded.config, target.command, contradictions);
  const bool spreads = target.command != Command::kGenerate;  // that is of one rank, whatever the model was trained on
  if (contradictions.empty() && spreads) check_spread(loaded.config, target.command, contradictions);
  contradictions.raise_if_any();
}

RunSpec make_run_spec(const config::RunConfig& c) {
  RunSpec spec;
  spec.name = c.name();
  spec.output_directory = c.output_directory();
  spec.seed = c.seed();
  spec.compute_dtype = c.precision() == config::Precision::BF16 ? DType::kBFloat16 : DType::kFloat32;
  spec.model = model_spec(c.model());
  spec.model_folder = c.model().from_huggingface();
  spec.data = data_spec(c.data());
  spec.evaluation = evaluation_spec(c);
  spec.mesh = {.pipeline = static_cast<int>(c.mesh().pipeline()),
               .data = static_cast<int>(c.mesh().data()),
               .context = static_cast<int>(c.mesh().context()),
               .tensor = static_cast<int>(c.mesh().tensor())};
  // AUTO is left where the ranks were told different things, which they find as they compare them.
  if (c.context().scheme() != config::Context::AUTO) {
    spec.context = {.scheme = static_cast<ContextScheme>(c.context().scheme() - config::Context::RING),
                    .group_ranks = static_cast<int>(c.context().group_ranks())};
  }
  spec.layout = static_cast<LayoutType>(c.context().layout());
  spec.pipeline = pipeline_spec(c.pipeline());
  spec.sharding = static_cast<RunSpec::Sharding>(c.sharding().state());
  spec.optimizer = optimizer_spec(c.optimizer());
  spec.num_steps = c.training().steps();
  spec.global_batch_sequences = c.training().global_batch_sequences();
  spec.micro_batch_sequences = c.training().micro_batch_sequences();
  spec.dump_gradients = c.training().dump_gradients();
  spec.loss_tile_tokens = c.memory().loss_tile_tokens();
  spec.checkpoint = checkpoint_spec(c.checkpoint());
  spec.generation = generation_spec(c.generation());
  spec.tensorboard = c.metrics().tensorboard() ? RunSpec::TensorBoard::kOn : RunSpec::TensorBoard::kOff;
  spec.trace = {.num_steps = c.metrics().trace_steps(), .first_step = c.metrics().trace_first_step()};
  spec.resolved_configuration = print_config(c);
  validate(spec.model);
  return spec;
}

}  // namespace longspan
