// Products whose weights the ranks of a tensor axis share (Shoeybi et al. 2019), between pieces of tokens (Korthikanti et al.
// 2022): a column-parallel one takes pieces and gives all tokens of this rank's columns; a row-parallel one takes that and gives
// pieces. A gather before and a sum to pieces after are the two halves of a sum over ranks, hop by hop while the product of the
// rows that are here runs. In bfloat16 they move more than its halves: sums travel in float32, twice the bytes, and a backward
// gathers x by columns, and dy by rows, again for the gradient of the weight.
//
// On an axis of one rank both are Linear, to the bit and at its cost. Elsewhere sums over ranks are taken in the accumulator and
// rounded once. Rows of other ranks are not kept for the backward, which gathers them again.
#pragma once

#include <vector>

#include "core/nn/linear.h"
#include "parallel/tensor/pieces.h"

namespace longspan {

// Several weights that share their input, each [outputs held here, in]: y_i = x W_i^T (+ b_i).
class ColumnParallel {
 public:
  struct Stash {
    Tensor x;                 // this rank's piece
    std::vector<Tensor> dys;  // all tokens
    template <class F>
    void for_each_storage(F visit) {
      visit(x);
      for (Tensor& dy : dys) visit(dy);
    }
  };
  ColumnParallel(Communicator& axis, std::vector<Linear> weights) : axis_(axis), weights_(std::move(weights)) {}

  // x [tokens of this piece, in], of num_tokens in all -> for each weight [num_tokens, its outputs].
  std::vector<Tensor> forward(Context& context, const Tensor& x, int64_t num_tokens, Stash* stash) const;
  // dx [tokens of this piece, in] = the sum over ranks and weights of dy_i W_i.
  Tensor backward_input(Context& context, const std::vector<Tensor>& dys, Stash& stash) const;
  void backward_weight(Context& context, Stash& stash) const;

 private:
  Communicator& axis_;
  std::vector<Linear> weights_;
};

// A weight [out, inputs held here]: y = the sum over ranks of x W^T.
class RowParallel {
 public:
  struct Stash {
    Tensor x;   // all tokens
    Tensor dy;  // this rank's piece
    template <class F>
    void for_each_storage(F visit) {
      visit(x);
      visit(dy);
    }
  };
  RowParallel(Communicator& axis, const Parameter& weight) : axis_(axis), weight_(weight, nullptr) {}

  // x [num_tokens, in] -> [tokens of this piece, out]
  Tensor forward(Context& context, const Tensor& x, Stash* stash) const;
  Tensor backward_input(Context& context, const Tensor& dy, Stash& stash) const;
  void backward_weight(Context& context, Stash& stash) const;

 private:
  Communicator& axis_;
  Linear weight_;
};

}  // namespace longspan
