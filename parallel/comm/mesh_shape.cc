#include "parallel/comm/mesh_shape.h"

#include <fmt/format.h>

#include <algorithm>

namespace longspan {

std::string_view name(Axis axis) {
  constexpr std::string_view kNames[4] = {"pipeline", "data", "context", "tensor"};
  return kNames[static_cast<int>(axis)];
}

int MeshShape::operator[](Axis axis) const {
  const int degrees[4] = {pipeline, data, context, tensor};
  return degrees[static_cast<int>(axis)];
}

int64_t MeshShape::product() const {
  constexpr int64_t kMost = int64_t{1} << 32;  // no world has so many, and one degree more does not overflow
  int64_t product = 1;
  for (const Axis axis : kAxes) product = std::min(product, kMost) * (*this)[axis];
  return product;
}

std::string MeshShape::to_string() const {
  return fmt::format("pipeline {} x data {} x context {} x tensor {}", pipeline, data, context, tensor);
}

}  // namespace longspan
