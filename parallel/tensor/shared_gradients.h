// Gradients of what several ranks of a tensor axis hold alike (Parameter::shared): a norm's weight, of which each rank sees a
// piece of the tokens or some of the heads, and key heads whose query heads lie on several ranks. Each rank has a part of such a
// gradient; sums over the axis make them whole, before the replicas' sums, a norm and the optimizer see them.
#pragma once

#include <limits>

#include "core/nn/parameter.h"
#include "parallel/tensor/pieces.h"

namespace longspan {

class SharedGradients {
 public:
  SharedGradients(Communicator& axis, ParameterSet& parameters) : axis_(axis), parameters_(parameters) {}
  // Of this bucket alone: it has the same parameters on every rank of the axis.
  SharedGradients(Communicator& axis, ParameterSet& parameters, const Bucket& bucket)
      : axis_(axis), parameters_(parameters), range_(bucket.range) {}

  // Elements that reduce sums, the same on every rank.
  int64_t num_elements() const;
  // Collective; in place. One all_reduce, and none where nothing is shared or the axis is of one rank.
  void reduce(Context& context);

 private:
  Communicator& axis_;
  ParameterSet& parameters_;
  FlatRange range_ = {0, std::numeric_limits<int64_t>::max()};
};

// The elements of ParameterSet::gradients() that this rank counts where each of the model's counts once (Parameter::counted), as
// increasing ranges; they may take in gaps between parameters, which are zero. All of it in one where the rank counts all it has.
std::vector<TensorPiece> counted_ranges(const ParameterSet& parameters);

}  // namespace longspan
