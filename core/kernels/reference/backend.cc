#include "core/kernels/backends.h"
#include "core/kernels/reference/reference.h"

namespace longspan {

void add_reference_kernels(KernelSet& kernels) {
  kernels.add(reference::make_linear_algebra());
  kernels.add(reference::make_normalization());
  kernels.add(reference::make_rotary());
  kernels.add(reference::make_activation());
  kernels.add(reference::make_loss());
  kernels.add(reference::make_embedding());
  kernels.add(reference::make_optimizer());
  kernels.add(reference::make_elementwise());
}

}  // namespace longspan
