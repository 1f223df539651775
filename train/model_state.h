// Where a model's weights come from, a checkpoint, a Hugging Face folder or the seed, and where they are kept. Of the ranks that
// hold the same (ProcessMesh::replicas) the first reads and writes, the others receive: with data and context axes alone only the
// host of rank 0 needs to see the files. All that takes a mesh is collective, and what fails on one rank is raised on every rank.
#pragma once

#include <optional>

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"
#include "train/adamw.h"
#include "train/checkpoint.h"
#include "train/observer.h"

namespace longspan {

// The attention of a run, over the ranks that share a sequence. Collective over the world, which agrees on the configuration
// first: groups of ranks are made as that says. The observer may wrap it. `mesh` must outlive it.
std::unique_ptr<SequenceAttention> make_attention(const Context& context, const RunSpec& spec, const ProcessMesh& mesh,
                                                  TrainObserver& observer);

// What this rank keeps of the state of ranks with the same parameters.
StateShare state_share(const RunSpec& spec, const ProcessMesh& mesh);

// What this rank keeps of a checkpoint's tensors: master weights and, where there is an optimizer, its moments. They refer to the
// context.
struct StateTensors {
  bool shared = false;  // with the ranks that hold the same parameters, so that each reads and writes its own
  std::vector<NamedTensor> tensors = {};
  std::vector<NamedTensor> written = {};  // of these, what this rank writes, so that each element is written once
};
StateTensors checkpoint_tensors(const Context& context, const ParameterSet& parameters, const AdamW* optimizer);

// Values of all parts from the masters. After masters were loaded.
void refresh_values(const Context& context, const ProcessMesh& mesh, ParameterSet& parameters);

// Fills the tensors from the checkpoint that `resume` asks for and returns its facts; nothing when there is none to resume.
// An unsound checkpoint is passed over with a note for the next older one; if none is sound, Error(kCheckpoint).
std::optional<CheckpointFacts> load_newest(Context& context, const RunSpec& spec, const ProcessMesh& mesh,
                                           const StateTensors& state, TrainObserver& observer);

// Before the parameters are allocated: that spec.model_folder, where the run will begin with it, holds just these tensors in
// these shapes.
void check_weights(const Context& context, const RunSpec& spec, const ProcessMesh& mesh);

// Of the whole model, whatever part of it a rank holds.
int64_t num_parameters(const ModelSpec& spec);

// Fills the parameters from spec.model_folder if there is one, else from the seed.
void initialize_weights(Context& context, const RunSpec& spec, const ProcessMesh& mesh, ParameterSet& parameters);

// For evaluate and generate: the newest checkpoint, else spec.model_folder; raises Error(kCheckpoint) when there is neither.
// Returns the step.
int64_t load_for_inference(Context& context, const RunSpec& spec, const ProcessMesh& mesh, ParameterSet& parameters,
                           TrainObserver& observer);

// The folder of what was saved, on rank 0.
std::string save(const Context& context, const RunSpec& spec, const ProcessMesh& mesh, const CheckpointFacts& facts,
                 const StateTensors& state);

}  // namespace longspan
