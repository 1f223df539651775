// ProcessMesh: the ranks as a grid with four named axes, row-major (pipeline, data, context, tensor), tensor fastest, in the
// order of parallel/comm/mesh_map.h: by host. Where a rank is in the mesh is said by its coordinates, never by its rank in the
// world.
#pragma once

#include <array>
#include <memory>

#include "parallel/comm/communicator.h"
#include "parallel/comm/mesh_map.h"

namespace longspan {

class ProcessMesh {
 public:
  // Collective over `world`, which must outlive the mesh. Raises Error(kConfiguration) when the axes do not multiply to
  // the ranks of the world.
  ProcessMesh(Communicator& world, const MeshShape& shape);

  const MeshMap& map() const { return map_; }  // of all ranks
  const MeshShape& shape() const { return map_.shape(); }
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
  MeshMap map_;
  Coordinates coordinates_;
  std::array<std::unique_ptr<Communicator>, 4> axes_;
  std::unique_ptr<Communicator> replicas_;
  std::unique_ptr<Communicator> parts_;  // null where one axis is as good
};

}  // namespace longspan
