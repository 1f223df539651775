// Launches of the attention kernels of this folder: plain arguments, device memory, in the order of the stream.
#pragma once

#include <cstdint>

#include "core/kernels/cuda/ptx/namespace.h"
#include "core/tensor/dtype.h"

struct CUstream_st;

namespace longspan::LS_CUDA {

using NativeStream = CUstream_st*;

// [tokens, heads, head_dim]; elements of a head side by side, strides in elements.
struct Strided {
  const void* data;
  int64_t token_stride, head_stride;
};

// What each query sees (key_intervals.h), on the device. A tile is 32 queries, or 32 keys.
constexpr int kTile = 32;
struct TileInterval {
  int32_t any_begin, any_end, all_begin, all_end;
};
struct QueryRange {
  int32_t begin, end;  // queries outside of it see no key of the tile
};
struct Intervals {
  const int32_t *begin, *end;        // by query
  const TileInterval* query_tiles;   // what the queries of a tile see
  const QueryRange* key_tiles;       // who sees keys of a tile
};

struct AttentionShape {
  int32_t num_queries, num_keys, num_heads, num_kv_heads, head_dim;
  float scale;
};

struct ForwardArguments {
  AttentionShape shape;
  Intervals visible;
  Strided q, k, v;
  float *output, *lse;  // [queries, heads, head_dim], [heads, queries]: merged with what is there
};

struct BackwardArguments {
  AttentionShape shape;
  Intervals visible;
  Strided q, k, v, doutput;
  const float *lse, *delta;  // [heads, queries]
  float *dq, *dk, *dv;       // [tokens, heads, head_dim], accumulated
};

// plain.cu: any head_dim up to kMostHeadDim; sums in fp32.
constexpr int kMostHeadDim = 256;
void launch_plain_forward(NativeStream stream, DType dtype, const ForwardArguments& arguments);
void launch_plain_backward(NativeStream stream, DType dtype, const BackwardArguments& arguments);

// matrix_forward.cu, matrix_backward.cu: bfloat16 by matrix instructions (sm_80), where takes_matrices says so.
// Six tiles of wider heads, as backward has them, are more than kMostSharedBytes.
constexpr int kMostMatrixForwardHeadDim = 256, kMostMatrixBackwardHeadDim = 128;
bool takes_matrices(const AttentionShape& shape, const Strided* operands, int num_operands, int most_head_dim);
void launch_matrix_forward(NativeStream stream, const ForwardArguments& arguments);
void launch_matrix_backward(NativeStream stream, const BackwardArguments& arguments);

// state.cu: delta [heads, queries] = rowsum(doutput * output); the empty state's lse.
struct DeltaArguments {
  int64_t num_queries, num_heads, head_dim;
  Strided output, doutput;
  float* delta;
};
void launch_delta(NativeStream stream, DType output_dtype, DType doutput_dtype, const DeltaArguments& arguments);
void launch_fill(NativeStream stream, int64_t count, float value, float* to);

}  // namespace longspan::LS_CUDA
