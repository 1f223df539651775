// What the families' public wrappers check before a backend sees a tensor.
#pragma once

#include <initializer_list>

#include "core/kernels/vocabulary_slice.h"
#include "core/tensor/tensor.h"

namespace longspan {

bool is_floating(DType dtype);

// Raise unless the tensor, which `what` names, is as said.
void expect_floating(const Tensor& tensor, const char* what);
void expect_rank(const Tensor& tensor, int rank, const char* what);
void expect_contiguous(const Tensor& tensor, const char* what);
// [rows, n], floating and contiguous.
void expect_rows(const Tensor& tensor, const char* what);
// `held` entries from the slice's first on are within its vocabulary.
void expect_slice(const VocabularySlice& slice, int64_t held, const char* what);
// Shape, dtype and contiguity in one.
void expect_dense(const Tensor& tensor, const Shape& shape, DType dtype, const char* what);

// Raise Error(kData), naming place and value, unless token `place` of a kernel's input is in [0, vocabulary),
// or, for a target, no target at all. Inline for their loops.
[[noreturn]] void refuse_token(int32_t token, int64_t place, int64_t vocabulary, const char* what);
inline void expect_token(int32_t token, int64_t place, int64_t vocabulary) {
  if (token < 0 || token >= vocabulary) [[unlikely]]
    refuse_token(token, place, vocabulary, "token");
}
inline void expect_target(int32_t target, int64_t place, int64_t vocabulary) {
  if (target < -1 || target >= vocabulary) [[unlikely]]
    refuse_token(target, place, vocabulary, "target");
}

}  // namespace longspan
