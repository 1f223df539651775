// Instructions of the lanes of a warp together: shuffles, votes, election, __syncwarp, and the frame of all others that warps
// execute as one.
#pragma once

#include <bit>
#include <cstdint>

#include "tests/support/simt/machine.h"

namespace longspan::simt {

// Waits until every lane of `mask` has come with the same operation; the last one to come runs `act` on the arguments of all.
// Faults where a lane is not in its mask or lanes disagree about what they do.
void together(uint32_t mask, void* argument, void (*act)(Collective&));

template <class Argument>
Argument& argument(Collective& collective, int lane) {
  return *static_cast<Argument*>(collective.arguments[lane]);
}
template <class Visit>
void for_each_lane(const Collective& collective, Visit visit) {
  for (int lane = 0; lane < kWarpSize; ++lane)
    if (collective.mask >> lane & 1) visit(lane);
}

uint32_t shuffle(uint32_t mask, uint32_t value, int source, int line);
uint32_t ballot(uint32_t mask, bool predicate, int line);
bool elect(uint32_t mask, int line);
void sync_warp(uint32_t mask, int line);

}  // namespace longspan::simt
