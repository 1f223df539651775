// FlatLayout: where parameters lie in the flat buffers of a ParameterSet, and which of them travel together.
//
// A bucket is what one block of the model's chain, or some small neighbours, have in the flat buffers: the unit of sums over
// ranks and of what ranks share. It is padded so that its pieces, one for each rank that shares, are equal and begin on cache
// lines.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace longspan {

struct Parameter;

struct FlatRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

// What of all parameters' state this rank keeps up to date for the ranks that hold the same parameters: of each bucket, piece
// `rank` of `num_ranks` equal ones. One rank keeps all.
struct StateShare {
  int rank = 0, num_ranks = 1;
  enum class What { kOptimizer, kGradients, kWeights } what = What::kOptimizer;  // each with those before it
  bool of_gradients() const { return num_ranks > 1 && what >= What::kGradients; }
  bool of_weights() const { return num_ranks > 1 && what >= What::kWeights; }
  // A bucket that has as many elements takes no further block: 16 MiB in fp32, so that its pieces are worth a message each.
  // Counted are those of the whole parameters, so that ranks with other parts of them have the same blocks in a bucket.
  int64_t bucket_elements = int64_t{1} << 22;
};

struct Bucket {
  int first_block = 0, end_block = 0;  // those that have parameters in it; others' first reader is none of them
  FlatRange range;
  FlatRange own;  // of that, this rank's piece
};

struct FlatLayout {
  std::vector<int64_t> begins;  // by parameter
  std::vector<Bucket> buckets;
  int64_t num_elements = 0;
};

// Parameters in the order of their first blocks.
FlatLayout lay_out(const std::vector<std::unique_ptr<Parameter>>& parameters, const StateShare& share);

}  // namespace longspan
