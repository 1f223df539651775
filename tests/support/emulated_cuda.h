// The cuda backend in the emulator (simt/scheduler.h): its own kernels run there, products of matrices on the host.
#pragma once

#include "core/runtime/context.h"

namespace longspan::test {

// A context whose tensors lie in emulated device memory that the host may touch, too: for tests of single kernels. A device as
// it is: emulated_device.h.
Context emulated_cuda_context(DType dtype);

}  // namespace longspan::test
