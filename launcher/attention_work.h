// What `bench attention` repeats: block attention over random inputs, forward or backward.
#pragma once

#include "attention/kernels/block_attention.h"

namespace longspan {

struct AttentionWorkShape {
  int64_t num_tokens = 0, num_heads = 1, num_kv_heads = 1, head_dim = 0;
};

// What each query of a sequence sees.
std::vector<IndexInterval> causal_tokens(int64_t num_tokens);
std::vector<IndexInterval> window_tokens(int64_t num_tokens, int64_t width);
// Lengths are drawn evenly from 1 to twice their mean; each document is causal within itself.
std::vector<IndexInterval> document_tokens(int64_t num_tokens, int64_t num_documents);

class AttentionWork {
 public:
  AttentionWork(Context context, const AttentionWorkShape& shape, const std::vector<IndexInterval>& visible);

  void forward();
  void backward();  // delta included; after a forward
  double forward_gflop() const;
  const Context& context() const { return context_; }

 private:
  Context context_;
  KeyIntervals visible_;
  AttentionWorkShape shape_;
  AttentionBlock block_;
  AttentionState state_;
  AttentionGradient gradient_;
};

}  // namespace longspan
