// Kernel family: rotary position embedding (Su et al. 2021) in the half-split form of Hugging Face checkpoints:
// pair i of a head is (x[i], x[i + d/2]); forward rotates it by the token's angle i, inverse by its negative.
#pragma once

#include "core/runtime/context.h"

namespace longspan {

enum class RotaryDirection { kForward, kInverse };

class Rotary {
 public:
  static constexpr const char* kName = "rotary";
  virtual ~Rotary() = default;

  // x [tokens, heads, head_dim], in place; tokens and heads may be strided. cosine, sine [tokens, head_dim / 2],
  // accumulator; an attention factor is already multiplied into both. The inverse is the transpose of the forward map,
  // which is what backward needs.
  void rotate(const Context& context, RotaryDirection direction, const Tensor& cosine, const Tensor& sine,
              const Tensor& x) const;

 private:
  virtual void do_rotate(const Context&, RotaryDirection, const Tensor& cosine, const Tensor& sine,
                         const Tensor& x) const = 0;
};

}  // namespace longspan
