// Whether a model and a batch can be spread over a mesh: asked by every command before anything is allocated, and by the plan of
// a world that is not here. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "train/run_spec.h"

namespace longspan {

enum class MeshUse {
  kTraining,
  kInference,  // in which no batch is divided
};

// Every degree that cannot work, with the nearest that can; `field` is the path in the configuration. A context axis of more
// ranks than a sequence has tokens works: some have nothing to do.
std::vector<FieldProblem> mesh_problems(const RunSpec& spec, int64_t num_ranks, MeshUse use = MeshUse::kTraining);

// Of the stages and their chunks alone: that the model's blocks reach for them. None where they do.
std::optional<FieldProblem> problem_of_stages(const RunSpec& spec);

// Of the batch alone: that it divides over the data axis and into microbatches. Empty where it does.
std::string problem_of_batch(const RunSpec& spec);

// Raises Error(kConfiguration) with the first of them.
void check_mesh(const RunSpec& spec, int64_t num_ranks, MeshUse use = MeshUse::kTraining);

}  // namespace longspan
