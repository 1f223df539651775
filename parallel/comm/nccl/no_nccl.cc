#include "parallel/comm/nccl/cuda_library.h"

namespace longspan {

bool has_nccl() { return false; }

std::shared_ptr<nccl::Library> make_nccl_library(const NcclOptions&) {
  raise(ErrorKind::kConfiguration, "this build has no NCCL: build it where a CUDA toolkit 13 and NCCL 2.27 or newer are found");
}

}  // namespace longspan
