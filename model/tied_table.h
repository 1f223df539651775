// TiedTable: the table of embeddings that is the head's weight, too, where a pipeline has the two on different ranks. Each has a
// part of its gradient: that by the tokens, that by the losses. Both ranks need the sum, and need it to the same bit, or their
// copies would drift apart; so it is summed over all ranks with a copy, of both stages and all replicas, and then handed to the
// reduction over the replicas as the first replica's alone, which can only add zeros to it.
#pragma once

#include <memory>

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"

namespace longspan {

class TiedTable {
 public:
  // Collective over the mesh. What is given must outlive it.
  TiedTable(const ProcessMesh& mesh, const Decoder& decoder);

  // Collective. After the last backward, before gradients are summed over the replicas. Nothing where one rank has both, or where
  // nothing is tied.
  void sum(Context& context) const;

 private:
  const ProcessMesh& mesh_;
  const Decoder& decoder_;
  std::unique_ptr<Communicator> copies_;  // the ranks with a copy of this rank's part; null: nothing to sum
};

}  // namespace longspan
