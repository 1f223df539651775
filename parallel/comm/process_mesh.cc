#include "parallel/comm/process_mesh.h"

#include <algorithm>

#include "core/base/error.h"

namespace longspan {

namespace {

constexpr std::array<Axis, 4> kAxes = {Axis::kPipeline, Axis::kData, Axis::kContext, Axis::kTensor};

void check_shape(const MeshShape& shape, int num_ranks) {
  constexpr int64_t kMost = int64_t{1} << 32;  // no world has so many, and one degree more does not overflow
  int64_t product = 1;
  for (Axis axis : kAxes) {
    const int degree = shape[axis];
    if (degree < 1) {
      raise(ErrorKind::kConfiguration, "mesh.{}: {} is not a number of ranks; use 1 or more", name(axis), degree);
    }
    product = std::min(product, kMost) * degree;
  }
  if (product != num_ranks) {
    raise(ErrorKind::kConfiguration, "mesh {} has {} ranks, but this run has {}: start it with {} ranks or change mesh",
          shape.to_string(), product, num_ranks, product);
  }
}

}  // namespace

std::string_view name(Axis axis) {
  constexpr std::string_view kNames[4] = {"pipeline", "data", "context", "tensor"};
  return kNames[static_cast<int>(axis)];
}

int MeshShape::operator[](Axis axis) const {
  const int degrees[4] = {pipeline, data, context, tensor};
  return degrees[static_cast<int>(axis)];
}

std::string MeshShape::to_string() const {
  return fmt::format("pipeline {} x data {} x context {} x tensor {}", pipeline, data, context, tensor);
}

ProcessMesh::ProcessMesh(Communicator& world, const MeshShape& shape) : world_(world), shape_(shape) {
  check_shape(shape, world.size());
  int rest = world.rank();
  for (size_t i = kAxes.size(); i-- > 0;) {
    const int degree = shape[kAxes[i]];
    coordinates_[i] = rest % degree;
    rest /= degree;
  }
  int stride = 1;
  for (size_t i = kAxes.size(); i-- > 0;) {
    // Ranks that differ along this axis only share the rank they would have at coordinate 0 of it.
    const int color = world.rank() - coordinates_[i] * stride;
    axes_[i] = world.split(color, coordinates_[i], std::string(name(kAxes[i])));
    stride *= shape[kAxes[i]];
  }
  const int part = coordinate(Axis::kPipeline) * shape.tensor + coordinate(Axis::kTensor);
  replicas_ = world.split(part, world.rank(), "replicas");
  if (shape.pipeline == 1 || shape.tensor == 1) return;  // one of the axes has them all
  const int replica = coordinate(Axis::kData) * shape.context + coordinate(Axis::kContext);
  parts_ = world.split(replica, part, "parts of the model");
}

Communicator& ProcessMesh::parts() const {
  if (parts_) return *parts_;
  return axis(shape_.pipeline > 1 ? Axis::kPipeline : Axis::kTensor);
}

}  // namespace longspan
