// MeshShape: how many ranks a mesh has along each of its four named axes. Plain data, for those who need no ranks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace longspan {

enum class Axis { kPipeline, kData, kContext, kTensor };
constexpr Axis kAxes[] = {Axis::kPipeline, Axis::kData, Axis::kContext, Axis::kTensor};
std::string_view name(Axis axis);

struct MeshShape {
  int pipeline = 1, data = 1, context = 1, tensor = 1;
  int operator[](Axis axis) const;
  int num_ranks() const { return pipeline * data * context * tensor; }
  // num_ranks() of any degrees: no more than 2^32 times one of them, where that would be more than an int holds.
  int64_t product() const;
  std::string to_string() const;  // "pipeline 1 x data 2 x context 2 x tensor 1"
};

// Of degrees of 1 or more: why the mesh is none of so many ranks, and what to change; empty where it is.
std::string mesh_mismatch(const MeshShape& mesh, int64_t num_ranks);

}  // namespace longspan
