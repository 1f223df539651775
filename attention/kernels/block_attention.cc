#include "attention/kernels/block_attention.h"

#include <algorithm>
#include <limits>

namespace longspan {

namespace {

void expect_rank3(const Tensor& tensor, const char* what) {
  check(tensor.rank() == 3, "{} is {}, not [tokens, heads, head_dim]", what, tensor.shape().to_string());
}

void expect_adjacent_heads(const Tensor& tensor, const char* what) {
  const int64_t stride = tensor.layout().strides()[2];
  check(tensor.size(2) <= 1 || stride == 1, "the elements of a head of {} {} are {} apart, not 1", what,
        tensor.shape().to_string(), stride);
}

void check_block(const AttentionBlock& block) {
  check(block.visible != nullptr, "a block needs to know what its queries may see");
  expect_rank3(block.q, "q");
  expect_rank3(block.k, "k");
  expect_shape(block.q, {block.visible->num_queries(), block.q.size(1), block.q.size(2)}, "q");
  expect_shape(block.k, {block.visible->num_keys(), block.k.size(1), block.q.size(2)}, "k");
  expect_shape(block.v, block.k.shape(), "v");
  expect_dtype(block.k, block.q.dtype(), "k");
  expect_dtype(block.v, block.q.dtype(), "v");
  check(block.k.size(1) > 0 && block.q.size(1) % block.k.size(1) == 0, "{} query heads do not divide over {} key heads",
        block.q.size(1), block.k.size(1));
  expect_adjacent_heads(block.q, "q");
  expect_adjacent_heads(block.k, "k");
  expect_adjacent_heads(block.v, "v");
}

void check_accumulator(const Tensor& tensor, const Shape& shape, DType compute, const char* what) {
  expect_shape(tensor, shape, what);
  expect_dtype(tensor, accumulator(compute), what);
  check(tensor.layout().is_contiguous(), "{} must be contiguous", what);
}

}  // namespace

AttentionState BlockAttention::initial_state(const Context& context, int64_t num_queries, int64_t num_heads,
                                             int64_t head_dim, MemoryTag tag) const {
  const DType dtype = context.accumulator_dtype();
  const MemoryTag output_tag = dtype == context.compute_dtype() ? tag : MemoryTag::kActivations;
  AttentionState state = {.output = context.zeros({num_queries, num_heads, head_dim}, dtype, output_tag),
                          .lse = context.empty({num_heads, num_queries}, dtype, tag)};
  clear(context, state.lse);
  return state;
}

void BlockAttention::clear(const Context& context, const Tensor& lse) const {
  if (lse.num_elements() > 0) do_clear(context, lse);
}

void clear_on_host(const Tensor& lse) {
  const int64_t n = lse.num_elements();
  if (lse.dtype() == DType::kFloat64) {
    std::fill_n(lse.data<double>(), n, -std::numeric_limits<double>::infinity());
  } else {
    std::fill_n(lse.data<float>(), n, -std::numeric_limits<float>::infinity());
  }
}

void BlockAttention::forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const {
  check_block(block);
  const DType compute = block.q.dtype();
  check_accumulator(state.output, block.q.shape(), compute, "output");
  check_accumulator(state.lse, {block.q.size(1), block.q.size(0)}, compute, "lse");
  if (block.visible->empty() || block.q.num_elements() == 0) return;
  do_forward(context, block, state);
}

void BlockAttention::delta(const Context& context, const Tensor& output, const Tensor& doutput,
                           const Tensor& delta) const {
  expect_rank3(output, "output");
  expect_shape(doutput, output.shape(), "doutput");
  check(output.dtype() == doutput.dtype() || output.dtype() == accumulator(doutput.dtype()),
        "output is {}, doutput {}", name(output.dtype()), name(doutput.dtype()));
  expect_adjacent_heads(output, "output");
  expect_adjacent_heads(doutput, "doutput");
  check_accumulator(delta, {output.size(1), output.size(0)}, doutput.dtype(), "delta");
  if (delta.num_elements() == 0) return;
  do_delta(context, output, doutput, delta);
}

void BlockAttention::backward(const Context& context, const AttentionBlock& block,
                              const AttentionGradient& gradient) const {
  check_block(block);
  const DType compute = block.q.dtype();
  const Shape by_head = {block.q.size(1), block.q.size(0)};
  expect_shape(gradient.doutput, block.q.shape(), "doutput");
  expect_dtype(gradient.doutput, compute, "doutput");
  expect_adjacent_heads(gradient.doutput, "doutput");
  check_accumulator(gradient.lse, by_head, compute, "lse");
  check_accumulator(gradient.delta, by_head, compute, "delta");
  check_accumulator(gradient.dq, block.q.shape(), compute, "dq");
  check_accumulator(gradient.dk, block.k.shape(), compute, "dk");
  check_accumulator(gradient.dv, block.v.shape(), compute, "dv");
  if (block.visible->empty() || block.q.num_elements() == 0) return;
  do_backward(context, block, gradient);
}

}  // namespace longspan
