// What each scheme would take, predicted from measured rates, and which to take. Pure functions.
//
// With n tokens a rank, P ranks, c the time of the compute with one rank's keys and m that of a transfer:
//   RING         c + (P - 1) max(c, m); in backward m holds keys and sums, and the last transfer of sums hides under nothing
//   DOUBLE_RING  the same, of rounds that are such rings themselves
//   ALL_TO_ALL   the exchanges, then all compute at once, then the exchanges back: nothing hides, but every rank has the same
//   area ALL_GATHER   the first set of heads, then max(compute of one, transfer of the next) for each, then the last HYBRID the
//   exchanges inside a group, and a ring of groups with the heads of one rank
// Compute is that of the rank with most to do: by area where queries stay, by heads where they are exchanged. A transfer takes
// its messages' latencies and its bytes over the rate of the link; to ranks inside and across at the same time, the longer of
// the two. Packing on the device and what memory the schemes need is not in it.
#pragma once

#include <string>
#include <vector>

#include "attention/context_scheme.h"
#include "core/tensor/dtype.h"

namespace longspan {

// Operations with each pair, head and element: two products forward, five backward.
constexpr double kForwardFlops = 4, kBackwardFlops = 10;

struct LinkRate {
  double latency_seconds = 0;   // of a message
  double bytes_per_second = 1;  // of a rank, in one direction
};

struct AttentionRates {
  LinkRate inside, across;     // ranks of one host; of different hosts
  double forward_flops = 1, backward_flops = 1;  // of a rank's kernel, per second
  double call_seconds = 0;     // of a call of the kernel, whatever its size
};

struct AttentionShape {
  int64_t num_tokens = 0;  // of all ranks
  int64_t num_heads = 1, num_kv_heads = 1, head_dim = 1;
  DType dtype = DType::kBFloat16;
  int num_ranks = 1, ranks_per_host = 1;       // neighbours are on one host
  double total_pairs = 0, most_pairs = 0;     // of a query and a key that it sees: of all ranks, and of the one with most
};

struct SchemeCost {
  ContextScheme scheme = ContextScheme::kRing;
  int inner = 1;
  std::string refused;  // why it cannot be; empty where it can. The rest is of one that can.
  double forward_seconds = 0, backward_seconds = 0;
  double compute_seconds = 0;  // of both; the others are communication that nothing hides
  int64_t forward_bytes = 0, backward_bytes = 0;  // that a rank receives, with equal shares
  double seconds() const { return forward_seconds + backward_seconds; }
};

// `inner` as ContextSchemeOptions has it.
SchemeCost cost_of(ContextScheme scheme, int inner, const AttentionShape& shape, const AttentionRates& rates);

struct SchemeChoice {
  // All that there are, the fastest first, what is refused last; a ring that is nearly as fast before all.
  std::vector<SchemeCost> costs;
  std::string reason;             // one sentence
  const SchemeCost& best() const { return costs.front(); }
};
SchemeChoice choose_scheme(const AttentionShape& shape, const AttentionRates& rates);

}  // namespace longspan
