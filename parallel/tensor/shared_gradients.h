// Gradients of what several ranks of a tensor axis hold alike (Parameter::shared): a norm's weight, of which each rank sees a
// piece of the tokens or some of the heads, and key heads whose query heads lie on several ranks. Each rank has a part of such a
// gradient; sums over the axis make them whole, before the replicas' sums, a norm and the optimizer see them.
//
// All of it that the parameters of a bucket have is one sum over the axis: of n elements, those of its norms and of each key head
// that several ranks hold, once each; by a ring each of T ranks sends 2 (T - 1) / T n. For norms, which all hold, nothing less
// will do. Key heads, e elements that g neighbours hold, could do with 2 (g - 1) / g e on these alone; but where query heads do
// not divide, a rank is in two such groups, and its sums would wait for one another in a chain along the axis.
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
