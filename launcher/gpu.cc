#include "launcher/gpu.h"

#include <cstdlib>

namespace longspan {

Environment process_environment() {
  return {.get = [](const char* variable) -> const char* { return std::getenv(variable); },
          .set = [](const std::string& variable, const std::string& value) {
            check(setenv(variable.c_str(), value.c_str(), 1) == 0, "the environment does not take {}={}", variable, value);
          }};
}

GpuOfRank choose_gpu(Communicator& world, Communicator& local_ranks, const std::string& host_name, const VisibleDevices& visible,
                     bool sharing, const Environment& environment) {
  const DeviceChoice choice = choose_devices(local_ranks, visible, sharing);
  if (choice.shared()) {
    environment.set("NCCL_HOSTID", fmt::format("{}-{}", host_name, local_ranks.rank()));
    const bool only_host = world.size() == local_ranks.size();
    if (only_host && !environment.get("NCCL_SOCKET_IFNAME")) environment.set("NCCL_SOCKET_IFNAME", "lo");
  }
  const auto own = static_cast<size_t>(local_ranks.rank());
  return {.ordinal = choice.ordinals[own], .num_ranks = choice.loads[own]};
}

}  // namespace longspan
