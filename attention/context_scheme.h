// Who makes the attention of a scheme.
#pragma once

#include <memory>

#include "attention/context_groups.h"
#include "attention/sequence_attention.h"
#include "parallel/comm/communicator.h"

namespace longspan {

struct ContextSchemeOptions {
  ContextScheme scheme = ContextScheme::kRing;
  int inner = 1;                 // HYBRID and DOUBLE_RING: neighbouring ranks of a group; divides the ranks
  int64_t kv_heads_at_once = 1;  // ALL_GATHER
  double scale = 1;              // of the scores
};

// Collective over `ranks`, which share the sequence in the layout's order and must outlive it. On one rank, whatever the scheme,
// it is the one that has nothing to move. Raises Error(kConfiguration) when `inner` does not divide the ranks, with the nearest
// that does.
std::unique_ptr<SequenceAttention> make_sequence_attention(Communicator& ranks, const ContextSchemeOptions& options);

}  // namespace longspan
