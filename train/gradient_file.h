// The gradients of a step as one safetensors file, whatever mesh they are spread over: names and shapes as one rank has them.
#pragma once

#include <string>

#include "core/nn/parameter.h"
#include "model/model_spec.h"
#include "parallel/comm/process_mesh.h"

namespace longspan {

// After the reduction; collective over the mesh. Rank 0 gets all of them, one after the other, and writes. Raises
// Error(kResource) where the file cannot be written.
void dump_gradients(const Context& context, const ProcessMesh& mesh, const ModelSpec& model, const ParameterSet& parameters,
                    const std::string& path);

}  // namespace longspan
