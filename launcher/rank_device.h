// The device that a rank of this run computes on, and the communicator that moves tensors between such devices. All ranks of a
// run have one type of device.
#pragma once

#include <memory>
#include <string>

#include "configs/schema/run.pb.h"
#include "core/runtime/cuda.h"
#include "core/runtime/device.h"
#include "launcher/config_origins.h"
#include "launcher/world.h"

namespace longspan {

struct RankDevice {
  Device device = {};
  int64_t memory_bytes = 0;  // of a GPU that are free, this rank's part of them
  double peak_flop_per_second = 0;  // of a GPU's dense bfloat16 products, this rank's part; 0: not known
  std::string description = "";   // "NVIDIA H100 (compute capability 9.0, 80.0 GB)"; empty for a CPU
  std::string note = "";          // for the user; empty: nothing

  bool on_cpu() const { return device.type == DeviceType::kCpu; }
};

// FLOP/s of dense bfloat16 products in the maker's data sheet, by the name of the GPU; 0: not known.
double datasheet_peak(const std::string& gpu);

// What kernels are compiled for, and older GPUs lack.
constexpr int kLeastComputeCapability = 8;

// Raises Error(kConfiguration) for a GPU that is too old. `num_ranks` share it.
RankDevice describe_gpu(const CudaDeviceFacts& facts, int ordinal, int num_ranks);

// Collective over the world. Settles `device` of the configuration: AUTO becomes CPU. Raises Error(kConfiguration) where ranks
// ask for different devices and, with the place of the setting, where CUDA is asked for and this build or this host has none, or
// too few for its ranks.
RankDevice choose_rank_device(config::RunConfig& config, const ConfigOrigins& origins, const World& world);

// Collective over the world, which must outlive it. Of several ranks with a GPU each: NCCL's; where this build has no NCCL,
// through the host. Null where the world's own serves.
std::unique_ptr<Communicator> connect_devices(const RankDevice& device, const config::RunConfig& config, const World& world);

}  // namespace longspan
