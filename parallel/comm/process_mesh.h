// ProcessMesh: the ranks as a grid with four named axes, row-major (pipeline, data, context, tensor), tensor fastest.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "parallel/comm/communicator.h"

namespace longspan {

enum class Axis { kPipeline, kData, kContext, kTensor };
std::string_view name(Axis axis);

struct MeshShape {
  int pipeline = 1, data = 1, context = 1, tensor = 1;
  int operator[](Axis axis) const;
  int num_ranks() const { return pipeline * data * context * tensor; }
  std::string to_string() const;  // "pipeline 1 x data 2 x context 2 x tensor 1"
};

class ProcessMesh {
 public:
  // Collective over `world`, which must outlive the mesh. Raises Error(kConfiguration) when the axes do not multiply to
  // the ranks of the world.
  ProcessMesh(Communicator& world, const MeshShape& shape);

  const MeshShape& shape() const { return shape_; }
  int coordinate(Axis axis) const { return coordinates_[static_cast<size_t>(axis)]; }
  Communicator& world() const { return world_; }
  // The ranks that differ from this one only along the axis, in its order.
  Communicator& axis(Axis axis) const { return *axes_[static_cast<size_t>(axis)]; }
  // The ranks that hold the same parameters: they differ along data and context only. Gradients are summed over them.
  Communicator& replicas() const { return *replicas_; }
  // The ranks that hold the model between them: they differ along pipeline and tensor only.
  Communicator& parts() const;

 private:
  Communicator& world_;
  MeshShape shape_;
  std::array<int, 4> coordinates_{};
  std::array<std::unique_ptr<Communicator>, 4> axes_;
  std::unique_ptr<Communicator> replicas_;
  std::unique_ptr<Communicator> parts_;  // null where one axis is as good
};

}  // namespace longspan
