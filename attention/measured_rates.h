// The rates that choose_scheme wants, measured in a few milliseconds where a run begins: messages between neighbours, and the
// kernel on a small block. Measured by the clock, so that two runs find other rates, and may choose other schemes.
#pragma once

#include "attention/scheme_cost.h"
#include "core/runtime/context.h"
#include "parallel/comm/communicator.h"

namespace longspan {

// Collective over `world`, whose slowest rank counts, so that all have the same rates and choose alike. `ranks`: of this rank's
// sequence, some of the world.
AttentionRates measure_rates(Context& context, Communicator& ranks, Communicator& world, const AttentionShape& shape);

}  // namespace longspan
