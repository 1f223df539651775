// TiedTable: the table of embeddings that is the head's weight, too, where a pipeline has the two on different ranks. Each stage
// has a half of its gradient: that by the tokens, that by the losses. A half is summed over the replicas as any other gradient,
// which backward hides; then both stages exchange what they have and add it to their own. A sum of two is the same whichever
// comes first, so both end with the same bits, and their copies do not drift apart. The table counts on the first stage alone, in
// a norm and in files, which is said by Parameter::counted.
//
// A rank has the sums of all of its half, and exchanges them with the same replica of the other stage; or, where replicas share
// state, those of its piece. Pieces of the two stages need not line up: a rank exchanges with each rank of the other stage what
// both keep. Bytes sent by each rank, of B of its part of the table over R replicas: B, or, where they share state, B / R
// on average: a piece may hold more of the table than others. Sums over the replicas come on top, as for any gradient.
#pragma once

#include <memory>
#include <vector>

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"

namespace longspan {

class TiedTable {
 public:
  // Collective over the mesh; `share` is that of the parameters. What is given must outlive it.
  TiedTable(const ProcessMesh& mesh, const Decoder& decoder, const StateShare& share);

  // Collective. After the gradients were summed over the replicas. Nothing where one rank has both, or where nothing is tied.
  void exchange(Context& context);

 private:
  struct Kept {  // of the table's elements that a rank holds, those whose sum it has
    FlatRange range;
    Tensor gradient;
  };
  Kept own() const;
  void tell_ranges(const Context& context, const FlatRange& own);
  void exchange(Context& context, int peer, const Tensor& gradient);

  const Decoder& decoder_;
  std::unique_ptr<Communicator> copies_;  // of both stages, the first's before the last's; null: nothing to sum
  std::vector<FlatRange> ranges_;         // what they keep, by rank; empty before the first exchange
};

}  // namespace longspan
