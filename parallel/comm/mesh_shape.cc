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

namespace {

constexpr int64_t kMost = int64_t{1} << 32;  // no world has so many, and one degree more does not overflow

// An axis that, changed alone, makes the mesh one of so many ranks.
std::string other_degree(const MeshShape& mesh, int64_t num_ranks) {
  for (const Axis axis : {Axis::kContext, Axis::kData, Axis::kPipeline, Axis::kTensor}) {
    int64_t rest = 1;
    for (const Axis other : kAxes) rest = std::min(rest, kMost) * (other == axis ? 1 : mesh[other]);
    if (num_ranks % rest == 0) return fmt::format("set mesh.{} {}", name(axis), num_ranks / rest);
  }
  return "leave mesh out";
}

}  // namespace

int64_t MeshShape::product() const {
  int64_t product = 1;
  for (const Axis axis : kAxes) product = std::min(product, kMost) * (*this)[axis];
  return product;
}

std::string MeshShape::to_string() const {
  return fmt::format("pipeline {} x data {} x context {} x tensor {}", pipeline, data, context, tensor);
}

std::string mesh_mismatch(const MeshShape& mesh, int64_t num_ranks) {
  const int64_t product = mesh.product();
  if (product == num_ranks) return "";
  const std::string other = other_degree(mesh, num_ranks);
  if (product >= kMost) {
    return fmt::format("{} has at least {} ranks, but this run has {}: {}", mesh.to_string(), kMost, num_ranks, other);
  }
  return fmt::format("{} has {} rank{}, but this run has {}: start it with {}, or {}", mesh.to_string(), product,
                     product == 1 ? "" : "s", num_ranks, product, other);
}

}  // namespace longspan
