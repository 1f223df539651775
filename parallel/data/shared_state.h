// State that ranks with the same parameters share among themselves (ZeRO, Rajbhandari et al. 2020): each keeps the optimizer's state
// of its piece of the flat buffers, gets the sums of that piece's gradients, and gives the others its updated values.
#pragma once

#include "core/nn/parameter.h"
#include "parallel/comm/communicator.h"

namespace longspan {

// In place: piece r of `flat`, of equal pieces by rank, becomes what rank r has there. Collective; (R - 1) / R of the bytes are sent.
void gather_pieces(const Context& context, Communicator& group, const Tensor& flat);

// After convert_masters, or the optimizer's step: values of the other ranks' parts; all are packed. Collective over the ranks that
// share; nothing where none do.
void share_values(const Context& context, Communicator& replicas, ParameterSet& parameters);

// Gradients are summed over the replicas: everywhere, or, where they share state, each rank's own piece; the rest is void then.
void reduce_gradients(Context& context, Communicator& replicas, ParameterSet& parameters);

}  // namespace longspan
