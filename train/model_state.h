// Where a model's weights come from: a checkpoint, a Hugging Face folder, or the seed. Rank 0 of the world reads files; the
// others receive, so that only one host needs to see them. All that takes a communicator is collective, and what fails on the
// rank that reads is raised on every rank.
#pragma once

#include <optional>

#include "model/decoder.h"
#include "train/adamw.h"
#include "train/checkpoint.h"
#include "train/observer.h"

namespace longspan {

// The tensors of a checkpoint: master weights and, where there is an optimizer, its moments.
// They refer to the context.
std::vector<NamedTensor> checkpoint_tensors(const Context& context, ParameterSet& parameters, const AdamW* optimizer);

// Fills the tensors from the checkpoint that `resume` asks for and returns its facts; nothing when there is none to resume.
// An unsound checkpoint is passed over with a note for the next older one; if none is sound, Error(kCheckpoint).
std::optional<CheckpointFacts> load_newest(Context& context, const RunSpec& spec, Communicator& world,
                                           const std::vector<NamedTensor>& tensors, TrainObserver& observer);

// Before the parameters are allocated: that spec.model_folder, where the run will begin with it, holds just these tensors in
// these shapes.
void check_weights(const Context& context, const RunSpec& spec, Communicator& world, const ParameterSet& parameters);

// Fills the parameters from spec.model_folder if there is one, else from the seed.
void initialize_weights(Context& context, const RunSpec& spec, Communicator& world, ParameterSet& parameters);

// For evaluate and generate: the newest checkpoint, else spec.model_folder; raises Error(kCheckpoint) when there is neither.
// Returns the step.
int64_t load_for_inference(Context& context, const RunSpec& spec, Communicator& world, ParameterSet& parameters,
                           TrainObserver& observer);

// The gradients of all parameters as one safetensors file.
void dump_gradients(const Context& context, const std::string& path, const ParameterSet& parameters);

}  // namespace longspan
