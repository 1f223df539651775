// TokenEmbedding: rows of a table by token. Its input has no gradient.
#pragma once

#include "core/nn/parameter.h"

namespace longspan {

class TokenEmbedding {
 public:
  struct Stash {
    Tensor tokens, dy;
    template <class F>
    void for_each_storage(F visit) {
      visit(tokens);
      visit(dy);
    }
  };
  explicit TokenEmbedding(const Parameter& table) : table_(table) {}

  // tokens int32 [tokens] -> [tokens, hidden]
  Tensor forward(Context& context, const Tensor& tokens, Stash* stash) const;
  void backward_input(const Tensor& dy, Stash& stash) const { stash.dy = dy; }
  void backward_weight(Context& context, Stash& stash) const;

 private:
  const Parameter& table_;
};

}  // namespace longspan
