// StageBlock: what one executor sees of any model: a chain of blocks with type-erased stashes.
#pragma once

#include <any>
#include <memory>
#include <vector>

#include "core/runtime/context.h"

namespace longspan {

class StageBlock {
 public:
  virtual ~StageBlock() = default;
  // Rules as for layers: a null stash keeps nothing; activations are assigned, parameter gradients accumulate. The first
  // block takes an empty tensor for x and gives none for dx; the last gives none for y and takes none for dy.
  virtual Tensor forward(Context& context, int microbatch, const Tensor& x, std::any* stash) = 0;
  virtual Tensor backward_input(Context& context, int microbatch, const Tensor& dy, std::any& stash) = 0;
  virtual void backward_weight(Context& context, std::any& stash) = 0;
  virtual int layer() const { return -1; }  // which of the model's, for traces; -1: none of them
};

using Stage = std::vector<std::unique_ptr<StageBlock>>;

}  // namespace longspan
