// Problems of ring attention, forward and backward, on tensors that every rank draws for itself: the results of any number of
// ranks, in any arithmetic and on any device, are put together and compared.
#pragma once

#include <vector>

#include "attention/sequence_layout.h"
#include "attention/tile_map.h"
#include "core/runtime/context.h"
#include "parallel/comm/communicator.h"

namespace longspan::test {

struct RingProblem {
  LayoutType layout;
  Masking masking;
  int64_t length, num_sequences, num_documents, num_heads, num_kv_heads, head_dim;
};

struct RingResult {
  std::vector<double> output, dq, dk, dv;  // by index, whatever rank held it
};

// What this rank holds of the result, with zeros elsewhere. The inputs are rounded to `drawn`.
RingResult attend_on_ring(const RingProblem& problem, Context& context, Communicator& ring, DType drawn, uint64_t seed);
void add(const RingResult& part, RingResult& sum);  // which may be empty
// Of all ranks, on each of them: by the host's side of the ring.
RingResult sum_of_ranks(const RingResult& part, const Context& context, Communicator& ring);

std::string describe(const RingProblem& problem);
// Empty where each part is as near to `want` as that; else what is not.
std::string difference(const RingResult& got, const RingResult& want, double tolerance);

}  // namespace longspan::test
