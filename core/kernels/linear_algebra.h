// Kernel family: dense products.
#pragma once

#include "core/runtime/context.h"

namespace longspan {

enum class Transpose { kNo, kYes };
enum class Write { kAssign, kAccumulate };

struct GemmOptions {
  Transpose a = Transpose::kNo, b = Transpose::kNo;
  Write write = Write::kAssign;
};

class LinearAlgebra {
 public:
  static constexpr const char* kName = "linear algebra";
  virtual ~LinearAlgebra() = default;

  // c (+)= op(a) op(b); op(a) is [m, k], op(b) [k, n], c [m, n]. Row-major; the rows of each may be strided.
  // a and b share a dtype, c has theirs or its accumulator; sums are held in the accumulator. k = 0 gives zeros.
  void gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
            const Tensor& c) const;

 private:
  virtual void do_gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
                       const Tensor& c) const = 0;
};

}  // namespace longspan
