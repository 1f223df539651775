// Rotary angles. The angle of pair i of a head of d dims at position t is t * f_i, with f_i = theta^(-2 i / d) stretched by
// one of the scalings for contexts longer than the model was trained on:
//   LINEAR  f_i / factor (Chen et al. 2023)
//   NTK     theta' = theta * factor^(d / (d - 2)): keeps the fastest pair, divides the slowest by factor
//   YARN    between both, by how often a pair turns within the original length (Peng et al. 2023, as its released code and
//           Hugging Face do it: a ramp over the pair's number); cos and sin times attention_factor
//   LLAMA3  pairs with a wavelength above original / low are divided, below original / high kept, a blend between
// Angles are formed in double: at position 10^7 they are exact to 10^-8 rad.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/runtime/context.h"
#include "model/model_spec.h"

namespace longspan {

std::vector<double> inverse_frequencies(const RopeSpec& spec, int64_t head_dim);  // [head_dim / 2]
double attention_factor(const RopeSpec& spec);

struct RotaryTable {
  Tensor cosine, sine;  // [tokens, head_dim / 2], accumulator
  int64_t num_tokens() const { return cosine.size(0); }
};
RotaryTable make_rotary_table(const Context& context, const RopeSpec& spec, int64_t head_dim,
                              std::span<const int64_t> positions);

}  // namespace longspan
