// Kernel family: exact attention of a rank's queries against one shard of keys, as part of a longer softmax.
//
// Forward carries the state (O, LSE) from shard to shard (Milakov and Gimelshein 2018; Dao et al. 2022): LSE in natural log,
// identity (0, -inf), merging two empty states gives an empty state:
//   l = log(exp(l1) + exp(l2)),  O = exp(l1 - l) O1 + exp(l2 - l) O2.
// Backward needs only the final LSE and delta = rowsum(dO * O): with s = scale q k^T over the keys the query sees,
//   p = exp(s - LSE), ds = p (dO v^T - delta) scale;  dq += ds k,  dk += ds^T q,  dv += p^T dO.
// A query that sees nothing has O = 0, LSE = -inf and no gradient. Scores never exist beyond one tile.
// Grouped queries: query head h uses key head h / (num_heads / num_kv_heads).
// q, k, v and doutput may have any strides between tokens and heads, with the elements of a head side by side; what is in
// the accumulator is contiguous. Misuse raises Error(kInternal) before anything is written.
#pragma once

#include "attention/kernels/key_intervals.h"
#include "core/base/cpu_level.h"
#include "core/runtime/context.h"

namespace longspan {

struct AttentionBlock {
  Tensor q;  // [queries, num_heads, head_dim], compute dtype
  Tensor k;  // [keys, num_kv_heads, head_dim]
  Tensor v;  // [keys, num_kv_heads, head_dim]
  const KeyIntervals* visible = nullptr;  // of exactly these queries and keys
  double scale = 0;
};

struct AttentionState {
  Tensor output;  // [queries, num_heads, head_dim], accumulator
  Tensor lse;     // [num_heads, queries], accumulator
};

struct AttentionGradient {
  Tensor doutput;  // [queries, num_heads, head_dim], compute dtype
  Tensor lse;      // [num_heads, queries], accumulator: the final one
  Tensor delta;    // [num_heads, queries], accumulator
  Tensor dq;       // [queries, num_heads, head_dim], accumulator, accumulated
  Tensor dk, dv;   // [keys, num_kv_heads, head_dim], accumulator, accumulated
};

struct AttentionBlockShape {
  int64_t num_queries, num_keys, num_heads, num_kv_heads, head_dim;
};

class BlockAttention {
 public:
  static constexpr const char* kName = "block attention";
  virtual ~BlockAttention() = default;

  // The empty state for these queries. `tag`: of what is kept of it, LSE and an output of the compute dtype.
  AttentionState initial_state(const Context& context, int64_t num_queries, int64_t num_heads, int64_t head_dim,
                               MemoryTag tag = MemoryTag::kActivations) const;
  void clear(const Context& context, const Tensor& lse) const;  // to the empty state's: -inf
  // state = state merged with this block.
  void forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const;
  // delta[h, i] = sum over d of doutput[i, h, d] * output[i, h, d]; output in the compute dtype or the accumulator.
  void delta(const Context& context, const Tensor& output, const Tensor& doutput, const Tensor& delta) const;
  // The same bits for any thread count.
  void backward(const Context& context, const AttentionBlock& block, const AttentionGradient& gradient) const;

 private:
  virtual void do_forward(const Context&, const AttentionBlock&, const AttentionState&) const = 0;
  virtual void do_delta(const Context&, const Tensor& output, const Tensor& doutput, const Tensor& delta) const = 0;
  virtual void do_backward(const Context&, const AttentionBlock&, const AttentionGradient&) const = 0;
  virtual void do_clear(const Context&, const Tensor& lse) const = 0;  // lse = -inf
};

// do_clear of a backend whose tensors are in the host's memory.
void clear_on_host(const Tensor& lse);

// The oracle: float64, plain loops.
void add_reference_attention(KernelSet& kernels);
// float32 and bfloat16, tiled and vectorised; at the best level this machine runs, or at one of its others.
void add_cpu_attention(KernelSet& kernels);
void add_cpu_attention(KernelSet& kernels, CpuLevel level);
// float32 and bfloat16 on GPUs; raises Error(kConfiguration) where this build has none.
void add_cuda_attention(KernelSet& kernels);
// Bytes of workspace that grow with the tokens in a call of backward there, such as packed copies; what each thread has is less.
int64_t cpu_attention_workspace_bytes(DType dtype, CpuLevel level, const AttentionBlockShape& shape);

}  // namespace longspan
