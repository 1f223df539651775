#include "train/run_spec.h"

namespace longspan {

int group_ranks(const RunSpec& spec) {
  if (!is_grouped(spec.context.scheme)) return 1;
  if (spec.context.group_ranks > 0) return spec.context.group_ranks;
  return group_of_host(spec.context.scheme, spec.mesh.context, spec.mesh.context, spec.model.num_heads / spec.mesh.tensor);
}

}  // namespace longspan
