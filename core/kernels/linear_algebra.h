// Kernel family: dense products.
#pragma once

#include "core/runtime/context.h"

namespace longspan {

enum class Transpose { kNo, kYes };
enum class Write { kAssign, kAccumulate };

struct GemmOptions {
  Transpose a = Transpose::kNo, b = Transpose::kNo;
  Write write = Write::kAssign;
  Tensor packed_b = {};  // what pack() made of op(b), or nothing; b must still be what it was then
};

// For backends: elements from a row of a matrix to the next. Never less than a row, and never 0, also where there is no next.
int64_t row_distance(const Tensor& matrix);

class LinearAlgebra {
 public:
  static constexpr const char* kName = "linear algebra";
  virtual ~LinearAlgebra() = default;

  // c (+)= op(a) op(b); op(a) is [m, k], op(b) [k, n], c [m, n]. Row-major; the rows of each may be strided.
  // a and b share a dtype, c has theirs or its accumulator; sums are held in the accumulator. k = 0 gives zeros.
  void gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
            const Tensor& c) const;

  // op(b) in the order in which this backend's products read it, for a b of many products: opaque bytes, to be made again
  // when b changes. Nothing where b as it is serves as well. Written into `reused`, if that is of an earlier call for a
  // matrix of this shape; else new, under kWeights.
  Tensor pack(const Context& context, Transpose transpose, const Tensor& b, const Tensor& reused = {}) const;

 private:
  virtual void do_gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
                       const Tensor& c) const = 0;
  virtual Tensor do_pack(const Context& context, Transpose transpose, const Tensor& b, const Tensor& reused) const;
};

}  // namespace longspan
