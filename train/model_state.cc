#include "train/model_state.h"

#include <algorithm>

#include "train/agreement.h"
#include "train/formats/huggingface.h"
#include "train/formats/safetensors.h"

namespace longspan {

namespace {

void broadcast(Context& context, Communicator& world, const std::vector<NamedTensor>& tensors) {
  for (const NamedTensor& named : tensors) world.broadcast(context.stream(), named.tensor, 0);
}

std::optional<CheckpointFacts> load_exactly(const RunSpec& spec, const std::vector<NamedTensor>& tensors) {
  const auto folders = list_checkpoints(spec.output_directory);
  for (const CheckpointFolder& folder : folders) {
    if (folder.step != spec.checkpoint.resume_step) continue;
    return load_checkpoint(folder.path, tensors, to_string(spec.model));
  }
  raise(ErrorKind::kCheckpoint, "checkpoint.resume: {} has no checkpoint of step {}", spec.output_directory,
        spec.checkpoint.resume_step);
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

// On the rank that reads.
std::optional<CheckpointFacts> load(const RunSpec& spec, const std::vector<NamedTensor>& tensors,
                                    TrainObserver& observer) {
  if (spec.checkpoint.resume == CheckpointSpec::Resume::kStep) return load_exactly(spec, tensors);
  const auto folders = list_checkpoints(spec.output_directory);
  if (folders.empty()) return std::nullopt;
  if (spec.checkpoint.resume == CheckpointSpec::Resume::kNone) {
    raise(ErrorKind::kCheckpoint,
          "checkpoint.resume is NONE, but {} holds a checkpoint of step {}: name another output_directory, or remove it",
          spec.output_directory, folders.front().step);
  }
  std::string first_reason;
  for (const CheckpointFolder& folder : folders) {
    try {
      return load_checkpoint(folder.path, tensors, to_string(spec.model));
    } catch (const Error& e) {
      if (folders.size() == 1) throw;
      if (first_reason.empty()) first_reason = e.what();
      observer.on_note(fmt::format("{}; trying an older checkpoint", e.what()));
    }
  }
  raise(ErrorKind::kCheckpoint, "none of the {} checkpoints in {} can be resumed; the newest: {}", folders.size(),
        spec.output_directory, first_reason);
}

}  // namespace

std::vector<NamedTensor> checkpoint_tensors(const Context& context, ParameterSet& parameters, const AdamW* optimizer) {
  std::vector<NamedTensor> tensors;
  for (const auto& p : parameters.all()) tensors.push_back({p->name, p->master, &context});
  if (optimizer) {
    optimizer->for_each_state([&](const std::string& name, const Tensor& t) { tensors.push_back({name, t, &context}); });
  }
  return tensors;
}

std::optional<CheckpointFacts> load_newest(Context& context, const RunSpec& spec, Communicator& world,
                                           const std::vector<NamedTensor>& tensors, TrainObserver& observer) {
  std::optional<CheckpointFacts> facts;
  const Context& host = context.host();
  const Tensor numbers = host.zeros({5}, DType::kInt64, MemoryTag::kWorkspace);
  auto* n = numbers.data<int64_t>();
  on_rank_zero(context, world, [&] {
    facts = load(spec, tensors, observer);
    if (!facts) return;
    n[0] = 1;
    n[1] = facts->step;
    n[2] = facts->next_sequence;
    n[3] = facts->data_fingerprint;
    n[4] = static_cast<int64_t>(facts->seed);
  });
  world.broadcast(host.stream(), numbers, 0);
  if (n[0] == 0) return std::nullopt;
  broadcast(context, world, tensors);
  if (!facts) {
    facts.emplace();
    facts->step = n[1];
    facts->next_sequence = n[2];
    facts->data_fingerprint = n[3];
    facts->seed = static_cast<uint64_t>(n[4]);
  }
  return facts;
}

void check_weights(const Context& context, const RunSpec& spec, Communicator& world, const ParameterSet& parameters) {
  on_rank_zero(context, world, [&] {
    if (spec.model_folder.empty() || !list_checkpoints(spec.output_directory).empty()) return;
    const HuggingFaceWeights weights(spec.model_folder);
    for (const auto& p : parameters.all()) weights.expect(p->name, p->shape);
    refuse_unused(weights, parameters, spec);
  });
}

void initialize_weights(Context& context, const RunSpec& spec, Communicator& world, ParameterSet& parameters) {
  if (spec.model_folder.empty()) {
    parameters.initialize(context, spec.seed, spec.model.initializer_range);
    return;
  }
  on_rank_zero(context, world, [&] {
    const HuggingFaceWeights weights(spec.model_folder);
    for (const auto& p : parameters.all()) context.write_from_host(p->master, [&](const Tensor& t) { weights.read_into(p->name, t); });
  });
  broadcast(context, world, checkpoint_tensors(context, parameters, nullptr));
  parameters.refresh_values(context);
}

int64_t load_for_inference(Context& context, const RunSpec& spec, Communicator& world, ParameterSet& parameters,
                           TrainObserver& observer) {
  RunSpec any = spec;  // resume NONE is about where training begins
  if (any.checkpoint.resume == CheckpointSpec::Resume::kNone) any.checkpoint.resume = CheckpointSpec::Resume::kLatest;
  const auto facts = load_newest(context, any, world, checkpoint_tensors(context, parameters, nullptr), observer);
  if (facts) {
    parameters.refresh_values(context);
    return facts->step;
  }
  if (spec.model_folder.empty()) {
    raise(ErrorKind::kCheckpoint, "{} holds no checkpoint: train first, or name a model in model.from_huggingface",
          spec.output_directory);
  }
  initialize_weights(context, spec, world, parameters);
  return 0;
}

void dump_gradients(const Context& context, const std::string& path, const ParameterSet& parameters) {
  std::vector<SafetensorsEntry> entries;
  std::vector<Tensor> gradients;  // the entries refer to them
  for (const auto& p : parameters.all()) gradients.push_back(context.to_host(p->gradient));
  for (size_t i = 0; i < gradients.size(); ++i) {
    entries.push_back(safetensors_entry(parameters.all()[i]->name, gradients[i]));
  }
  try {
    write_safetensors(path, entries);
  } catch (const Error& error) {
    raise(ErrorKind::kResource, "training.dump_gradients: {}", error.what());
  }
}

}  // namespace longspan
