// Which GPU each rank of a host takes: from what each of them sees, never from a bare local rank. Schedulers show a rank all GPUs
// of its host, or only its own, which is number 0 then; CUDA_VISIBLE_DEVICES has already done its work. A GPU is known by
// its UUID, so two ranks notice when number 0 is the same one for both.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "parallel/comm/communicator.h"

namespace longspan {

using DeviceUuid = std::array<uint8_t, 16>;
using VisibleDevices = std::vector<DeviceUuid>;  // by ordinal

// Those of this process, as CUDA lists them; none in a build without CUDA or where CUDA finds none.
VisibleDevices visible_devices();

struct DeviceChoice {
  std::vector<int> ordinals;  // by local rank: which of the devices it sees
  std::vector<int> loads;     // by local rank: how many ranks have that device
  bool shared() const;        // some ranks have the same device
};

// Each rank has a device of its own where there is a way; where all see the same, local rank r takes ordinal r. Where there is
// none, ranks share with `sharing`, evenly as far as they see; otherwise, and where a rank sees no device, raises
// Error(kConfiguration) with both numbers. `visible` is by local rank.
DeviceChoice choose_devices(const std::vector<VisibleDevices>& visible, bool sharing);

// Collective over the ranks of one host: the same on each of them, refusals too.
DeviceChoice choose_devices(Communicator& local_ranks, const VisibleDevices& visible, bool sharing);

}  // namespace longspan
