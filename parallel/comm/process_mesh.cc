#include "parallel/comm/process_mesh.h"

#include "core/base/error.h"

namespace longspan {

namespace {

const MeshShape& checked(const MeshShape& shape, int num_ranks) {
  for (Axis axis : kAxes) {
    const int degree = shape[axis];
    if (degree < 1) {
      raise(ErrorKind::kConfiguration, "mesh.{}: {} is not a number of ranks; use 1 or more", name(axis), degree);
    }
  }
  const std::string problem = mesh_mismatch(shape, num_ranks);
  if (!problem.empty()) raise(ErrorKind::kConfiguration, "mesh: {}", problem);
  return shape;
}

}  // namespace

ProcessMesh::ProcessMesh(Communicator& world, const MeshShape& shape)
    : world_(world),
      map_(checked(shape, world.size()), world.hosts()),
      coordinates_(map_.coordinates_at(map_.place_of(world.rank()))) {
  const int place = map_.place_of(world.rank());
  int stride = 1;
  for (size_t i = coordinates_.size(); i-- > 0;) {
    // Ranks that differ along this axis only share the place that they would have at coordinate 0 of it.
    const int color = place - coordinates_[i] * stride;
    axes_[i] = world.split(color, coordinates_[i], std::string(name(kAxes[i])));
    stride *= shape[kAxes[i]];
  }
  const int part = coordinate(Axis::kPipeline) * shape.tensor + coordinate(Axis::kTensor);
  replicas_ = world.split(part, place, "replicas");
  if (shape.pipeline == 1 || shape.tensor == 1) return;  // one of the axes has them all
  const int replica = coordinate(Axis::kData) * shape.context + coordinate(Axis::kContext);
  parts_ = world.split(replica, part, "parts of the model");
}

Communicator& ProcessMesh::parts() const {
  if (parts_) return *parts_;
  return axis(shape().pipeline > 1 ? Axis::kPipeline : Axis::kTensor);
}

}  // namespace longspan
