#include "train/model_state.h"

#include <algorithm>
#include <iterator>
#include <sstream>

#include "attention/context_scheme.h"
#include "parallel/comm/backends.h"
#include "parallel/data/shared_state.h"
#include "train/agreement.h"
#include "train/formats/huggingface.h"

namespace longspan {

namespace {

// Of ranks that hold the same, the first reads and writes for all; those that share state do it each for itself.
bool handles_files(const ProcessMesh& mesh, const StateTensors& state) { return state.shared || mesh.replicas().rank() == 0; }

void spread(Context& context, const ProcessMesh& mesh, const StateTensors& state) {
  if (state.shared) return;
  for (const NamedTensor& named : state.tensors) mesh.replicas().broadcast(context.stream(), named.tensor, 0);
}

// A tensor that no parameter takes would be a part of the model that is silently left out.
void refuse_unused(const HuggingFaceWeights& weights, const ParameterSet& parameters, const RunSpec& spec) {
  for (const std::string& name : weights.names()) {
    const auto& all = parameters.all();
    if (std::any_of(all.begin(), all.end(), [&](const auto& p) { return p->name == name; })) continue;
    // Old checkpoints store the rotary frequencies, and some a copy of a tied head.
    const bool known = name.ends_with("rotary_emb.inv_freq") ||
                       (name == "lm_head.weight" && spec.model.tie_embeddings == ModelSpec::Tie::kYes);
    if (!known) {
      raise(ErrorKind::kCheckpoint, "{} holds a tensor {} that this model does not have", spec.model_folder,
            shown(name));
    }
  }
}

void read_weights(const Context& context, const HuggingFaceWeights& weights, const NamedTensor& named, const Tensor& into) {
  if (named.box.is_all()) return weights.read_into(named.name, into);
  const Tensor whole = context.host().empty(named.box.whole, into.dtype(), MemoryTag::kWorkspace);
  weights.read_into(named.name, whole);
  copy_overlap(Box::all_of(named.box.whole), whole.raw(), named.box, into.raw(), size_bytes(into.dtype()));
}

// Steps of the checkpoints to try, in that order; none where there is none to resume. On rank 0.
std::vector<int64_t> candidates(const RunSpec& spec) {
  const auto folders = list_checkpoints(spec.output_directory);
  std::vector<int64_t> steps;
  for (const CheckpointFolder& folder : folders) steps.push_back(folder.step);
  if (spec.checkpoint.resume == CheckpointSpec::Resume::kStep) {
    const bool there = std::find(steps.begin(), steps.end(), spec.checkpoint.resume_step) != steps.end();
    if (there) return {spec.checkpoint.resume_step};
    raise(ErrorKind::kCheckpoint, "checkpoint.resume: {} has no checkpoint of step {}", spec.output_directory,
          spec.checkpoint.resume_step);
  }
  if (!steps.empty() && spec.checkpoint.resume == CheckpointSpec::Resume::kNone) {
    raise(ErrorKind::kCheckpoint,
          "checkpoint.resume is NONE, but {} holds a checkpoint of step {}: name another output_directory, or remove it",
          spec.output_directory, steps.front());
  }
  return steps;
}

// Collective: rank 0's numbers.
std::vector<int64_t> numbers_of_rank_zero(const Context& context, Communicator& world, const std::vector<int64_t>& numbers) {
  std::string text;
  for (const int64_t number : numbers) text += fmt::format("{} ", number);
  std::istringstream words(text_of_rank_zero(context, world, text));
  return {std::istream_iterator<int64_t>(words), {}};
}

// Collective. Facts are those that rank 0 has read.
CheckpointFacts load_step(Context& context, const RunSpec& spec, const ProcessMesh& mesh, int64_t step,
                          const StateTensors& state) {
  CheckpointFacts facts;
  on_every_rank(context, mesh.world(), [&] {
    if (!handles_files(mesh, state)) return;
    facts = load_checkpoint(checkpoint_path(spec.output_directory, step), state.tensors, to_string(spec.model));
  });
  const auto numbers = numbers_of_rank_zero(context, mesh.world(), {facts.step, facts.next_sequence, facts.data_fingerprint,
                                                                    static_cast<int64_t>(facts.seed)});
  facts.step = numbers.at(0);
  facts.next_sequence = numbers.at(1);
  facts.data_fingerprint = numbers.at(2);
  facts.seed = static_cast<uint64_t>(numbers.at(3));
  spread(context, mesh, state);
  return facts;
}

}  // namespace

std::unique_ptr<SequenceAttention> make_attention(const Context& context, const RunSpec& spec, const ProcessMesh& mesh,
                                                  TrainObserver& observer) {
  agree_on_configuration(context, mesh.world(), spec);
  const int inner = group_ranks(spec);
  const int64_t heads = spec.model.num_heads / spec.mesh.tensor;
  const std::string problem = scheme_problem(spec.context.scheme, inner, spec.mesh.context, heads);
  if (!problem.empty()) raise(ErrorKind::kConfiguration, "context.scheme: {}", problem);
  const ContextSchemeOptions options = {.scheme = spec.context.scheme, .inner = inner, .scale = score_scale(spec.model)};
  std::unique_ptr<SequenceAttention> attention = make_sequence_attention(mesh.axis(Axis::kContext), options);
  observer.on_attention(attention);
  return attention;
}

StateShare state_share(const RunSpec& spec, const ProcessMesh& mesh) {
  StateShare share{.bucket_elements = spec.bucket_elements * mesh.shape().tensor};
  if (spec.sharding == RunSpec::Sharding::kNone) return share;
  share.rank = mesh.replicas().rank();
  share.num_ranks = mesh.replicas().size();
  if (spec.sharding == RunSpec::Sharding::kGradients) share.what = StateShare::What::kGradients;
  if (spec.sharding == RunSpec::Sharding::kWeights) share.what = StateShare::What::kWeights;
  return share;
}

StateTensors checkpoint_tensors(const Context& context, const ParameterSet& parameters, const AdamW* optimizer) {
  StateTensors state{.shared = parameters.share().num_ranks > 1};
  const auto add = [&](const std::string& suffix, const ParameterSet::Part& part, const Tensor& tensor) {
    int64_t begin = 0;
    for (const Box& box : boxes_of_range(part.parameter->box, part.begin, part.end)) {
      const int64_t end = begin + box.num_elements();
      state.tensors.push_back({part.parameter->name + suffix, tensor.slice(0, begin, end).reshape(box.extent), &context, box});
      if (const auto counted = overlap(box, part.parameter->counted)) {
        state.written.push_back(state.tensors.back());
        state.written.back().tensor = part_of(state.tensors.back().tensor, box, *counted);
        state.written.back().box = *counted;
      }
      begin = end;
    }
  };
  for (const ParameterSet::Part& part : parameters.parts()) add("", part, part.master);
  if (optimizer) optimizer->for_each_state(add);
  return state;
}

void refresh_values(const Context& context, const ProcessMesh& mesh, ParameterSet& parameters) {
  if (parameters.share().num_ranks == 1) return parameters.refresh_values(context);
  parameters.convert_masters(context);
  share_values(context, mesh.replicas(), parameters);
}

std::optional<CheckpointFacts> load_newest(Context& context, const RunSpec& spec, const ProcessMesh& mesh,
                                           const StateTensors& state, TrainObserver& observer) {
  std::vector<int64_t> steps;
  on_rank_zero(context, mesh.world(), [&] { steps = candidates(spec); });
  steps = numbers_of_rank_zero(context, mesh.world(), steps);
  if (steps.empty()) return std::nullopt;
  std::string first_reason;
  for (const int64_t step : steps) {
    try {
      return load_step(context, spec, mesh, step, state);
    } catch (const Error& e) {  // the same on every rank
      if (steps.size() == 1) throw;
      if (first_reason.empty()) first_reason = e.what();
      if (mesh.world().rank() == 0) observer.on_note(fmt::format("{}; trying an older checkpoint", e.what()));
    }
  }
  raise(ErrorKind::kCheckpoint, "none of the {} checkpoints in {} can be resumed; the newest: {}", steps.size(),
        spec.output_directory, first_reason);
}

void check_weights(const Context& context, const RunSpec& spec, const ProcessMesh& mesh) {
  on_rank_zero(context, mesh.world(), [&] {
    if (spec.model_folder.empty() || !list_checkpoints(spec.output_directory).empty()) return;
    const HuggingFaceWeights weights(spec.model_folder);
    const auto alone = make_self_communicator();
    Decoder whole(spec.model, *alone, spec.loss_tile_tokens);  // has names and shapes, and no storage
    for (const auto& p : whole.parameters().all()) weights.expect(p->name, p->shape);
    refuse_unused(weights, whole.parameters(), spec);
  });
}

int64_t num_parameters(const ModelSpec& spec) {
  const auto alone = make_self_communicator();
  return Decoder(spec, *alone, 1).parameters().num_elements();
}

void initialize_weights(Context& context, const RunSpec& spec, const ProcessMesh& mesh, ParameterSet& parameters) {
  if (spec.model_folder.empty()) {
    parameters.initialize(context, spec.seed, spec.model.initializer_range);
    if (parameters.share().num_ranks > 1) refresh_values(context, mesh, parameters);
    return;
  }
  const StateTensors state = checkpoint_tensors(context, parameters, nullptr);
  on_every_rank(context, mesh.world(), [&] {
    if (!handles_files(mesh, state)) return;
    const HuggingFaceWeights weights(spec.model_folder);
    for (const NamedTensor& named : state.tensors) {
      context.write_from_host(named.tensor, [&](const Tensor& t) { read_weights(context, weights, named, t); });
    }
  });
  spread(context, mesh, state);
  refresh_values(context, mesh, parameters);
}

int64_t load_for_inference(Context& context, const RunSpec& spec, const ProcessMesh& mesh, ParameterSet& parameters,
                           TrainObserver& observer) {
  RunSpec any = spec;  // resume NONE is about where training begins
  if (any.checkpoint.resume == CheckpointSpec::Resume::kNone) any.checkpoint.resume = CheckpointSpec::Resume::kLatest;
  const auto facts = load_newest(context, any, mesh, checkpoint_tensors(context, parameters, nullptr), observer);
  if (facts) {
    refresh_values(context, mesh, parameters);
    return facts->step;
  }
  if (spec.model_folder.empty()) {
    raise(ErrorKind::kCheckpoint, "{} holds no checkpoint: train first, or name a model in model.from_huggingface",
          spec.output_directory);
  }
  initialize_weights(context, spec, mesh, parameters);
  return 0;
}

std::string save(const Context& context, const RunSpec& spec, const ProcessMesh& mesh, const CheckpointFacts& facts,
                 const StateTensors& state) {
  Communicator& world = mesh.world();
  std::string unfinished, finished;
  try {
    on_rank_zero(context, world, [&] { unfinished = begin_checkpoint(spec.output_directory, facts.step); });
    const std::string shared = text_of_rank_zero(context, world, unfinished);
    std::string part;
    on_every_rank(context, world, [&] {
      if (handles_files(mesh, state)) part = write_part(shared, world.rank(), state.written);
    });
    const std::vector<std::string> parts = texts_of_ranks(context, world, part);
    on_rank_zero(context, world, [&] {
      finished = finish_checkpoint(shared, spec.output_directory, facts, parts, spec.checkpoint.keep);
    });
  } catch (...) {
    if (!unfinished.empty()) discard_checkpoint(unfinished);
    throw;
  }
  return finished;
}

}  // namespace longspan
