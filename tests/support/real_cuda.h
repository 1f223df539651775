// The cuda backend on a GPU, for tests that read and write tensors from the host as well: they lie in the host's memory, pinned,
// where a GPU reaches them. Slow, so not for measurements.
#pragma once

#include "core/runtime/context.h"

namespace longspan::test {

// A context on the GPU that is visible first. Every launch is waited for.
Context real_cuda_context(DType dtype);
// Returns when the GPU has done all that it was given; raises where something failed.
void wait_for_gpu();

}  // namespace longspan::test
