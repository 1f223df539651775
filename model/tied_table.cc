#include "model/tied_table.h"

namespace longspan {

TiedTable::TiedTable(const ProcessMesh& mesh, const Decoder& decoder) : mesh_(mesh), decoder_(decoder) {
  if (mesh.shape().pipeline == 1 || decoder.spec().tie_embeddings == ModelSpec::Tie::kNo) return;
  const bool holds = decoder.half_of_tied_table() != nullptr;
  Communicator& world = mesh.world();
  // By part of the table; ranks that hold none make groups of themselves, and drop them.
  const int color = holds ? mesh.coordinate(Axis::kTensor) : mesh.shape().tensor + world.rank();
  copies_ = world.split(color, mesh.map().place_of(world.rank()), "tied table");
  if (!holds) copies_.reset();
}

void TiedTable::sum(Context& context) const {
  if (!copies_) return;
  const Tensor& gradient = decoder_.half_of_tied_table()->gradient;
  copies_->all_reduce(context.stream(), gradient, ReduceOp::kSum);
  if (mesh_.replicas().rank() > 0) context.clear(gradient);
}

}  // namespace longspan
