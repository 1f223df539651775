// NCCL and CUDA themselves behind library.h; a build without them has no_nccl.cc instead. Never run on a GPU yet.
#pragma once

#include <memory>

#include "parallel/comm/nccl/library.h"

namespace longspan {

struct NcclOptions {
  // How many multiprocessors one communicator may take at most; 0: NCCL's choice. NCCL's kernels run on a stream of the
  // highest priority, so they take the first multiprocessors that become free. A kernel whose blocks come and go frees some
  // all the time; one that fills the device for its whole length (persistent) must leave this many free itself, or NCCL
  // waits for its end. Fewer leave more for compute, and carry fewer bytes a second.
  int max_multiprocessors = 0;
};

bool has_nccl();
// For the device that is current on the thread that makes communicators of it. Raises Error(kConfiguration) where has_nccl() is
// false.
std::shared_ptr<nccl::Library> make_nccl_library(const NcclOptions& options);

}  // namespace longspan
