// Launches of the kernels of this folder: what nvcc compiles (*.cu) and the families (*.cc) call. Plain arguments: pointers to
// device memory, contiguous unless strides are given, counts of elements; void is the dtype, float32 or bfloat16. They return at
// once; work is in the order of the stream. What is assigned and what accumulated: as the families say.
#pragma once

#include <cstdint>

#include "core/kernels/cuda/ptx/namespace.h"
#include "core/tensor/dtype.h"

struct CUstream_st;

namespace longspan::LS_CUDA {

using NativeStream = CUstream_st*;

// activation.cu: count elements each
void launch_swiglu_forward(NativeStream stream, DType dtype, int64_t count, const void* gate, const void* up, void* y);
struct SwigluBackward {
  const void *dy, *gate, *up;
  void *dgate, *dup;
};
void launch_swiglu_backward(NativeStream stream, DType dtype, int64_t count, const SwigluBackward& arguments);

// normalization.cu: rows of n
struct RmsNormForward {
  int64_t rows, n;
  float epsilon;
  const void *x, *residual, *weight;  // residual, and with it sum, may be null
  void *sum, *y;
  float* inverse_rms;
};
void launch_rms_norm_forward(NativeStream stream, DType dtype, const RmsNormForward& arguments);
struct RmsNormBackward {
  int64_t rows, n;
  const void *dy, *x, *weight;
  const float* inverse_rms;
  const void* residual;  // may be null
  void* dx;
};
void launch_rms_norm_backward(NativeStream stream, DType dtype, const RmsNormBackward& arguments);
// Sums over rows go through parts, [row_sum_chunks(rows), n].
constexpr int64_t row_sum_chunks(int64_t rows) {
  constexpr int64_t kLeastRows = 32, kMostChunks = 128;
  const int64_t chunks = (rows + kLeastRows - 1) / kLeastRows;
  return chunks < kMostChunks ? chunks : kMostChunks;
}
struct RmsNormBackwardWeight {
  int64_t rows, n;
  const void *dy, *x;
  const float* inverse_rms;
  float *parts, *dweight;
};
void launch_rms_norm_backward_weight(NativeStream stream, DType dtype, const RmsNormBackwardWeight& arguments);

// elementwise.cu
void launch_add(NativeStream stream, DType dtype, int64_t count, const void* a, const void* b, void* sum);
void launch_accumulate(NativeStream stream, DType dtype, int64_t count, const void* x, float* sum);
void launch_convert(NativeStream stream, int64_t count, DType from_dtype, const void* from, DType to_dtype, void* to);
void launch_add_bias(NativeStream stream, DType dtype, int64_t rows, int64_t n, const void* bias, void* y);
void launch_accumulate_rows(NativeStream stream, DType dtype, int64_t rows, int64_t n, const void* x, float* parts, float* sum);

// rotary.cu
struct RotaryArguments {
  int64_t tokens, heads, head_dim, token_stride, head_stride;  // strides in elements
  const float *cosine, *sine;                                  // [tokens, head_dim / 2]
  float sign;                                                  // of the sines
  void* x;
};
void launch_rotate(NativeStream stream, DType dtype, const RotaryArguments& arguments);

// optimizer.cu
struct AdamWArguments {
  int64_t count;
  float gradient_scale, beta1, one_minus_beta1, beta2, one_minus_beta2;
  float rate, decay, root_correction, epsilon;  // rate and root hold the corrections of the moments
  const float* gradient;
  float *master, *first_moment, *second_moment;
  void* value;  // may be master
};
void launch_adamw(NativeStream stream, DType dtype, const AdamWArguments& arguments);
// parts [sum_of_squares_parts(count)], assigned; their sum in order is the result
constexpr int64_t sum_of_squares_parts(int64_t count) {
  constexpr int64_t kElements = 4096, kMostParts = 1024;
  const int64_t parts = (count + kElements - 1) / kElements;
  return parts < kMostParts ? parts : kMostParts;
}
void launch_sum_of_squares(NativeStream stream, DType dtype, int64_t count, const void* x, double* parts);

// embedding.cu. The table holds `rows` entries of the vocabulary from `first` on. A token of another reads as zeros, one that is
// not in the vocabulary as NaN; either adds to nothing.
struct EmbeddingShape {
  int64_t tokens, vocabulary, first, rows, n;
};
void launch_gather(NativeStream stream, DType dtype, const EmbeddingShape& shape, const int32_t* tokens, const void* table,
                   void* y);
void launch_scatter_add(NativeStream stream, DType dtype, const EmbeddingShape& shape, const int32_t* tokens, const void* dy,
                        float* dtable);

// loss.cu. A target that is not in the vocabulary is none.
struct CrossEntropyArguments {
  int64_t tokens, vocabulary;
  const float* logits;
  const int32_t* targets;
  float gradient_scale;
  float* losses;
  void* dlogits;  // null: only losses; may be the logits, of bfloat16 too
  int64_t gradient_stride = vocabulary;  // elements between rows of dlogits
};
void launch_cross_entropy(NativeStream stream, DType gradient_dtype, const CrossEntropyArguments& arguments);
// Of logits [tokens, held], entries [first, first + held) of the vocabulary.
struct PartialCrossEntropyArguments {
  int64_t tokens, first, held;
  const float* logits;
  const int32_t* targets;
  float* parts;  // [3, tokens]
};
void launch_partial_cross_entropy(NativeStream stream, const PartialCrossEntropyArguments& arguments);
struct CombineCrossEntropyArguments {
  int64_t ranks, tokens, vocabulary;
  const float* parts;  // [ranks, 3, tokens]
  const int32_t* targets;
  float *losses, *totals;
};
void launch_combine_cross_entropy(NativeStream stream, const CombineCrossEntropyArguments& arguments);
struct CrossEntropyGradientArguments {
  int64_t tokens, vocabulary, first, held;
  const float* logits;
  const int32_t* targets;
  float gradient_scale;
  const float* totals;  // [2, tokens]
  void* dlogits;
  int64_t gradient_stride;  // elements from a row of dlogits to the next
};
void launch_cross_entropy_gradient(NativeStream stream, DType gradient_dtype, const CrossEntropyGradientArguments& arguments);

}  // namespace longspan::LS_CUDA
