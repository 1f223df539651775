// The cuda backend in the emulator (simt/scheduler.h): its own kernels run there, products of matrices on the host.
#pragma once

#include "core/runtime/context.h"

namespace longspan::test {

// A context whose tensors lie in emulated device memory.
Context emulated_cuda_context(DType dtype);

}  // namespace longspan::test
