// The tokens of several ranks put together in the order of their indices, and copies of rows to and from their places there.
#pragma once

#include <span>

#include "attention/kernels/index_range.h"
#include "core/runtime/context.h"

namespace longspan {

struct MergedShares {
  IndexRanges ranges;               // of all of them
  std::vector<IndexRanges> places;  // by share: which slots of all are its tokens, in its order
};

// `shares` are disjoint, each in order.
MergedShares merge(std::span<const IndexRanges> shares);

// Adds an index above all of theirs.
void append(IndexRanges& ranges, int64_t index);

// The i-th row of `rows` is the row of `all` at the i-th place; rows as Context::copy_rows wants them.
void take_rows(const Context& context, const Tensor& all, const IndexRanges& places, const Tensor& rows);
void place_rows(const Context& context, const Tensor& rows, const IndexRanges& places, const Tensor& all);
// One run of neighbouring places, or none: then the rows lie in `all` as they are.
bool is_one_run(const IndexRanges& places);
Tensor run_of(const Tensor& all, const IndexRanges& places);

}  // namespace longspan
