// Whole steps of training on meshes of devices, for device_ranks_test.cc.
#pragma once

#include "parallel/comm/communicator.h"

namespace longspan::test {

// All ranks along each axis in turn: activations, losses, and every gradient are those of one rank, which each computes for
// itself on its device. Raises where they are not.
void check_meshes(Communicator& world, int ordinal);

}  // namespace longspan::test
