// Heads of the tokens of a group of ranks, brought to the ranks that attend with them, and back.
//
// In: rank r has all heads of its own tokens, and gets the heads of its row of a HeadTable for all tokens of the group, in order
// of index. Out: what each rank made of its heads for all tokens goes home to the tokens' ranks; where several ranks had one
// head, their tensors are summed in the order of ranks, in the dtype they travel in. Every rank sends each other one message a
// part, step s to rank + s; all are posted before the first is waited for, and the caller may compute in between. Of n tokens
// with w heads, a rank receives n - (its own) tokens of its heads in, and its own tokens of all that the others had out.
#pragma once

#include <span>

#include "attention/exchanged_heads.h"
#include "attention/token_places.h"
#include "parallel/comm/communicator.h"

namespace longspan {

// In a trace, what gathers and scatters post is called thus.
constexpr const char* kHeadTransfer = "head transfer";

struct HeadGroup {
  Communicator& ranks;
  std::span<const IndexRanges> places;  // by rank: which of the group's slots are its tokens
  int64_t num_tokens(int rank) const;
  int64_t total_tokens() const;
};

class HeadGather {
 public:
  // x [tokens of this rank, heads, head_dim], contiguous. `group` and `table` outlive it.
  HeadGather(Context& context, const HeadGroup& group, const HeadTable& table, const Tensor& x);
  // By part of this rank: [tokens of the group, heads of the part, head_dim], with this tag. Once.
  std::vector<Tensor> finish(MemoryTag tag);

 private:
  Tensor packed(const HeadRange& heads);

  Context& context_;
  const HeadGroup& group_;
  const HeadTable& table_;
  Tensor x_, last_packed_;
  HeadRange last_heads_;
  std::vector<std::vector<Tensor>> arriving_;  // by rank and part
  std::vector<Work> works_;
};

class HeadScatter {
 public:
  // `parts` as HeadGather's finish gives them, contiguous, of one dtype. `group` and `table` outlive it.
  HeadScatter(Context& context, const HeadGroup& group, const HeadTable& table, const std::vector<Tensor>& parts);
  // [tokens of this rank, heads of the table, head_dim]. Once.
  Tensor finish();

 private:
  Tensor packed(const Tensor& part, int rank);

  Context& context_;
  const HeadGroup& group_;
  const HeadTable& table_;
  int64_t head_dim_;
  std::vector<std::vector<Tensor>> arriving_;  // by rank and part, this rank's own, too
  std::vector<Work> works_;
};

}  // namespace longspan
