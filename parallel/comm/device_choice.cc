#include "parallel/comm/device_choice.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/runtime/context.h"

namespace longspan {

namespace {

// Ranks to devices, one to one: each rank in turn takes a free device, or one whose owner can move to another.
class Matching {
 public:
  explicit Matching(const std::vector<VisibleDevices>& visible) : visible_(visible), ordinals_(visible.size(), -1) {}

  bool complete() {
    for (size_t rank = 0; rank < visible_.size(); ++rank) {
      std::map<DeviceUuid, bool> seen;
      if (!place(rank, seen)) return false;
    }
    return true;
  }
  const std::vector<int>& ordinals() const { return ordinals_; }

 private:
  bool place(size_t rank, std::map<DeviceUuid, bool>& seen) {
    // A free one first, so that nobody moves without need.
    for (const bool only_free : {true, false}) {
      for (size_t ordinal = 0; ordinal < visible_[rank].size(); ++ordinal) {
        const DeviceUuid& device = visible_[rank][ordinal];
        const auto owner = owners_.find(device);
        if (only_free ? owner != owners_.end() : std::exchange(seen[device], true)) continue;
        if (!only_free && !place(owner->second, seen)) continue;
        owners_[device] = rank;
        ordinals_[rank] = static_cast<int>(ordinal);
        return true;
      }
    }
    return false;
  }

  const std::vector<VisibleDevices>& visible_;
  std::vector<int> ordinals_;
  std::map<DeviceUuid, size_t> owners_;
};

// Each rank in turn takes the device with the fewest ranks that it sees.
DeviceChoice shared_evenly(const std::vector<VisibleDevices>& visible) {
  std::map<DeviceUuid, int> loads;
  DeviceChoice choice;
  for (const VisibleDevices& devices : visible) {
    const auto least = std::min_element(devices.begin(), devices.end(), [&](const DeviceUuid& a, const DeviceUuid& b) {
      return loads[a] < loads[b];
    });
    ++loads[*least];
    choice.ordinals.push_back(static_cast<int>(least - devices.begin()));
  }
  for (size_t rank = 0; rank < visible.size(); ++rank) {
    choice.loads.push_back(loads[visible[rank][static_cast<size_t>(choice.ordinals[rank])]]);
  }
  return choice;
}

size_t num_distinct(const std::vector<VisibleDevices>& visible) {
  std::vector<DeviceUuid> all;
  for (const VisibleDevices& devices : visible) all.insert(all.end(), devices.begin(), devices.end());
  std::sort(all.begin(), all.end());
  return static_cast<size_t>(std::unique(all.begin(), all.end()) - all.begin());
}

}  // namespace

bool DeviceChoice::shared() const {
  return std::any_of(loads.begin(), loads.end(), [](int load) { return load > 1; });
}

DeviceChoice choose_devices(const std::vector<VisibleDevices>& visible, bool sharing) {
  for (size_t rank = 0; rank < visible.size(); ++rank) {
    if (visible[rank].empty()) {
      raise(ErrorKind::kConfiguration,
            "rank {} of {} on this host sees 0 GPUs: see nvidia-smi, CUDA_VISIBLE_DEVICES and the scheduler's options", rank,
            visible.size());
    }
  }
  Matching matching(visible);
  if (matching.complete()) return {.ordinals = matching.ordinals(), .loads = std::vector<int>(visible.size(), 1)};
  if (sharing) return shared_evenly(visible);
  raise(ErrorKind::kConfiguration,
        "{} ranks on this host see {} GPUs and cannot have one each: start one rank per GPU, let each rank see its own, or, "
        "for tests, set communication.device_sharing",
        visible.size(), num_distinct(visible));
}

DeviceChoice choose_devices(Communicator& local_ranks, const VisibleDevices& visible, bool sharing) {
  constexpr size_t kBytes = std::tuple_size_v<DeviceUuid>;
  const Context host(Context::Options{});
  const int num_ranks = local_ranks.size();
  const Tensor count = host.empty({1}, DType::kInt64), counts = host.empty({num_ranks, 1}, DType::kInt64);
  *count.data<int64_t>() = static_cast<int64_t>(visible.size());
  local_ranks.all_gather(host.stream(), count, counts);
  const int64_t* numbers = counts.data<int64_t>();
  const int64_t most = *std::max_element(numbers, numbers + num_ranks);
  const auto row_bytes = most * static_cast<int64_t>(kBytes);
  const Tensor own = host.zeros({row_bytes}, DType::kUInt8), all = host.empty({num_ranks, row_bytes}, DType::kUInt8);
  for (size_t i = 0; i < visible.size(); ++i) {
    std::copy(visible[i].begin(), visible[i].end(), own.data<uint8_t>() + i * kBytes);
  }
  local_ranks.all_gather(host.stream(), own, all);
  std::vector<VisibleDevices> by_rank(static_cast<size_t>(num_ranks));
  for (int rank = 0; rank < num_ranks; ++rank) {
    const uint8_t* row = all.data<uint8_t>() + rank * row_bytes;
    for (int64_t i = 0; i < numbers[rank]; ++i) {
      std::copy_n(row + i * static_cast<int64_t>(kBytes), kBytes, by_rank[static_cast<size_t>(rank)].emplace_back().begin());
    }
  }
  return choose_devices(by_rank, sharing);
}

}  // namespace longspan
