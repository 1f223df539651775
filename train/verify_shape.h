// What `longspan verify` runs: a run shrunk to what one rank computes in seconds, and documents made up for it.
#pragma once

#include <string>
#include <vector>

#include "train/run_spec.h"

namespace longspan {

// The run with fewer layers, less width and vocabulary, shorter sequences, fewer microbatches, weights from the seed,
// one step, and no files. Everything that a mesh could get wrong stays: the mesh, the scheme, the layout, the ratio of query
// heads to key heads, two key heads where there are two or more, the remainder of heads by the ranks that share or exchange them,
// the width of a head's remainder by 16, the sequence's remainder by the
// number of its chunks (a length that does not divide over the ranks still does not), packing, tied embeddings, biases,
// q and k norms, rotary embedding and its scaling, several microbatches where there are several, and several sequences
// in one.
RunSpec shrunk(const RunSpec& run);

// A line for each thing that differs: "model.hidden_size 256 -> 32".
std::vector<std::string> what_was_shrunk(const RunSpec& run, const RunSpec& small);

// Documents of random tokens in a folder of its own under `parent`, a pure function of (seed, sizes), so that every
// rank may make its own. Their lengths are uneven, from one token to more than a sequence, so that their edges fall
// inside the shares of ranks and between them. Goes with its owner. Raises Error(kResource) when the folder cannot be
// written. Files with names, and not memory: the list of data files needs an order, and a path that can be resolved.
class SyntheticDocuments {
 public:
  SyntheticDocuments(const RunSpec& small, const std::string& parent);
  ~SyntheticDocuments();
  SyntheticDocuments(const SyntheticDocuments&) = delete;
  SyntheticDocuments& operator=(const SyntheticDocuments&) = delete;

  const std::string& folder() const { return folder_; }
  // Now. A signal handler may call this.
  void remove() const noexcept;

 private:
  explicit SyntheticDocuments(const std::string& parent);  // none yet

  std::string folder_;
  int descriptor_ = -1;  // of the folder: names of files are then short enough to be made without memory
};

}  // namespace longspan
