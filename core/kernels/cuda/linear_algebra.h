// Dense products on GPUs, by cuBLASLt. Apart from the families of cuda.h, as the emulator has no such library.
//
// Sums are in float32, also those of float32, which is not rounded to TF32; of c in bfloat16, what was there is added before
// the one rounding. Parts of a sum are added in an order that is always the same. Of the ways that the library proposes for a
// large product, each is timed when the first such product comes, and the fastest is kept while this backend lives: so two
// runs may differ in the last bits, two steps of a run do not. An accumulating product is timed into a copy of c, which takes
// that much workspace once; where there is none, the library's first proposal is taken.
#pragma once

#include <memory>

#include "core/kernels/cuda/ptx/namespace.h"
#include "core/kernels/linear_algebra.h"

namespace longspan::LS_CUDA {

std::shared_ptr<const LinearAlgebra> make_linear_algebra();

}  // namespace longspan::LS_CUDA
