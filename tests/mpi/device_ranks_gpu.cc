#include "launcher/gpu.h"
#include "parallel/comm/nccl/cuda_library.h"
#include "parallel/comm/nccl/nccl_communicator.h"
#include "tests/mpi/device_ranks.h"

namespace longspan::test {

int ordinal_of_rank(MpiSession& session) {
  constexpr bool kSharing = true;
  return choose_gpu(session.world(), session.local_ranks(), session.host_name(), visible_devices(), kSharing,
                    process_environment())
      .ordinal;
}

std::unique_ptr<Communicator> group_of_devices(MpiSession& session) {
  return make_nccl_communicator(session.world(), make_nccl_library({.max_multiprocessors = 4}));
}

}  // namespace longspan::test
