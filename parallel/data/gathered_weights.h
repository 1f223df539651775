// GatheredWeights: weights that ranks share, each keeping its pieces, and that exist as a whole only while a block reads them
// (ZeRO-3, Rajbhandari et al. 2020; FSDP, Zhao et al. 2023). The buckets of a block are gathered while the block before it
// computes, and go when the block after it begins.
//
// Bytes sent by each rank for a bucket of B bytes over R ranks: (R - 1) / R B each time. A step needs each bucket in forward and
// in backward of each microbatch; where backward begins at once, the last two are there still.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "core/nn/parameter.h"
#include "parallel/data/ring_reduction.h"

namespace longspan {

class GatheredWeights {
 public:
  // The group carries nothing else. Collective, as all is: ranks that share make the same calls in the same order.
  GatheredWeights(Context& context, Communicator& group, ParameterSet& parameters);

  // Block `block` reads its weights now; the block `next` will be the next one to (-1: none): its weights are not waited for.
  // Blocks of other parts of the model, and the same block once more, are fine.
  void use(int block, int next);
  void after_compute() { gather_.after_compute(); }
  // Nobody reads any before they change.
  void close();

 private:
  void open(size_t bucket);

  Context& context_;
  ParameterSet& parameters_;
  RingReduction gather_;
  std::map<size_t, Tensor> open_;  // what they are gathered into, by bucket
};

}  // namespace longspan
