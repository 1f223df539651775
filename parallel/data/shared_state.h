// State that ranks with the same parameters share among themselves (ZeRO, Rajbhandari et al. 2020): of each bucket of the flat
// buffers a rank keeps the optimizer's state of its piece, gets the sums of that piece's gradients, and gives the others its
// updated values.
#pragma once

#include "core/nn/parameter.h"
#include "parallel/comm/communicator.h"
#include "parallel/data/ring_reduction.h"

namespace longspan {

// In place: piece r of `flat`, a bucket of equal pieces by rank, becomes what rank r has there. Collective; (R - 1) / R of the
// bytes are sent.
void gather_pieces(const Context& context, Communicator& group, const Tensor& flat);

// After convert_masters, or the optimizer's step: values of the other ranks' parts; all are packed. Collective over the ranks
// that share; nothing where none do, or where they share the weights, too.
void share_values(const Context& context, Communicator& replicas, ParameterSet& parameters);

// Sums over the replicas, bucket by bucket: everywhere, or, where ranks share state, each rank's own piece; the rest is void
// then.
class BucketSums {
 public:
  BucketSums(Context& context, Communicator& replicas, ParameterSet& parameters);
  // The bucket's gradients are the sums' until finish(); where ranks share gradients they are taken, and what the own piece comes
  // to is added to this rank's. All replicas start the same buckets in the same order.
  void start(const Bucket& bucket);
  void after_compute() { reduction_.after_compute(); }
  bool under_way() const { return reduction_.under_way(); }
  void finish() { reduction_.finish(); }

 private:
  ParameterSet& parameters_;
  RingReduction reduction_;
};

// All of them at once, where nothing is left to compute.
void reduce_gradients(Context& context, Communicator& replicas, ParameterSet& parameters);

}  // namespace longspan
