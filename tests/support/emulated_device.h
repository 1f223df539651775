// A CUDA device in the emulator, as core/runtime sees one: memory that the host cannot touch, and a stream whose copies to the
// host arrive late. The kernels are those of the cuda backend; products of matrices are done on the host for it.
//
// Launches and what is between places in device memory are done at once. The bytes of a copy to the host appear when somebody
// waits for them, and until then others are there. Pinned memory that a copy reads and that the host changes before the copy
// is waited for raises std::logic_error there. An event is done when it was waited for, or asked for the second time.
#pragma once

#include "core/runtime/context.h"

namespace longspan::test {

std::shared_ptr<Stream> make_emulated_stream();
std::shared_ptr<MemoryResource> make_emulated_pinned_memory();

// A context of such a device; float32 or bfloat16.
Context emulated_device_context(DType dtype);
Context::Options emulated_device_options(DType dtype);

}  // namespace longspan::test
