#include "train/gradient_file.h"

#include "model/decoder.h"
#include "parallel/comm/backends.h"
#include "train/agreement.h"
#include "train/formats/safetensors.h"

namespace longspan {

namespace {

// On the host, nothing where this rank has none; of what several ranks have, one of them.
Tensor counted_part(const Context& context, const ProcessMesh& mesh, const ParameterSet& parameters, const Parameter& whole) {
  const Tensor gradient = context.host().zeros(whole.shape, context.accumulator_dtype(), MemoryTag::kWorkspace);
  if (parameters.share().num_ranks == 1 && mesh.replicas().rank() > 0) return gradient;
  for (const ParameterSet::Part& part : parameters.parts()) {
    if (part.parameter->name != whole.name) continue;
    const Tensor own = context.to_host(part.gradient);
    const auto* next = static_cast<const std::byte*>(own.raw());
    for (const Box& box : boxes_of_range(part.parameter->box, part.begin, part.end)) {
      const size_t bytes = size_bytes(own.dtype());
      if (const auto counted = overlap(box, part.parameter->counted)) {
        std::vector<std::byte> values(static_cast<size_t>(counted->num_elements()) * bytes);
        copy_overlap(box, next, *counted, values.data(), bytes);
        copy_overlap(*counted, values.data(), whole.box, gradient.raw(), bytes);
      }
      next += static_cast<size_t>(box.num_elements()) * bytes;
    }
  }
  return gradient;
}

}  // namespace

void dump_gradients(const Context& context, const ProcessMesh& mesh, const ModelSpec& model, const ParameterSet& parameters,
                    const std::string& path) {
  const Context& host = context.host();
  const auto alone = make_self_communicator();
  Decoder names(model, *alone, 1);
  std::vector<SafetensorsEntry> entries;
  std::vector<Tensor> gradients;  // the entries refer to them
  for (const auto& whole : names.parameters().all()) {
    const Tensor gradient = counted_part(context, mesh, parameters, *whole);
    mesh.world().all_reduce(host.stream(), gradient, ReduceOp::kSum);
    if (mesh.world().rank() > 0) continue;
    gradients.push_back(gradient);
    entries.push_back(safetensors_entry(whole->name, gradient));
  }
  on_rank_zero(context, mesh.world(), [&] {
    try {
      write_safetensors(path, entries);
    } catch (const Error& error) {
      raise(ErrorKind::kResource, "training.dump_gradients: {}", error.what());
    }
  });
}

}  // namespace longspan
