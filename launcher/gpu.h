// The GPU of this rank, and what NCCL must find in the environment where ranks of a host share one: it refuses two ranks of one
// host on one GPU ("Duplicate GPU detected"), unless they call themselves different hosts. They then speak through the network.
#pragma once

#include <functional>
#include <string>

#include "launcher/launch.h"
#include "parallel/comm/device_choice.h"

namespace longspan {

struct Environment {
  Lookup get;
  std::function<void(const std::string& variable, const std::string& value)> set;
};
Environment process_environment();

struct GpuOfRank {
  int ordinal = 0;
  int num_ranks = 1;  // that have it
};

// Collective. This rank's GPU, with `sharing` as in communication.device_sharing. Where ranks of the host share
// one, sets NCCL_HOSTID, and, if this is the only host and the user did not choose, NCCL_SOCKET_IFNAME to the loopback; so before
// the first communicator of NCCL, and before this process has threads that read the environment.
// Raises Error(kConfiguration) as choose_devices does.
GpuOfRank choose_gpu(Communicator& world, Communicator& local_ranks, const std::string& host_name, const VisibleDevices& visible,
                     bool sharing, const Environment& environment);

}  // namespace longspan
