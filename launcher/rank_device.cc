#include "launcher/rank_device.h"

#include <algorithm>

#include "core/kernels/backends.h"
#include "launcher/gpu.h"
#include "parallel/comm/backends.h"
#include "parallel/comm/nccl/cuda_library.h"
#include "parallel/comm/nccl/nccl_communicator.h"

namespace longspan {
namespace {

using config::RunConfig;

RankDevice gpu_of_rank(const RunConfig& config, const World& world) {
  const GpuOfRank gpu = choose_gpu(world.communicator(), world.local_ranks(), world.host_name(), visible_devices(),
                                   config.communication().device_sharing(), process_environment());
  return describe_gpu(cuda_device_facts(gpu.ordinal), gpu.ordinal, gpu.num_ranks);
}

}  // namespace

double datasheet_peak(const std::string& gpu) {
  constexpr struct {
    const char* name;
    double tflops;
  } kKnown[] = {
      // what is more exact comes first
      {"GH200", 989.5}, {"GB200", 2500}, {"H100 PCIe", 756}, {"H100 NVL", 835}, {"H100", 989.5}, {"H200 NVL", 835},
      {"H200", 989.5},  {"H800", 989.5}, {"A100", 312},      {"A800", 312},     {"B200", 2250},
  };
  if (gpu.find(" MIG ") != std::string::npos) return 0;  // a part of one, of whichever size
  const auto known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                  [&](const auto& one) { return gpu.find(one.name) != std::string::npos; });
  return known == std::end(kKnown) ? 0 : 1e12 * known->tflops;
}

RankDevice describe_gpu(const CudaDeviceFacts& facts, int ordinal, int num_ranks) {
  if (facts.major < kLeastComputeCapability) {
    raise(ErrorKind::kConfiguration, "GPU {}, {}, has compute capability {}.{}; kernels need {}.0 or newer: use device CPU",
          ordinal, facts.name, facts.major, facts.minor, kLeastComputeCapability);
  }
  RankDevice rank{.device = {DeviceType::kCuda, ordinal}, .memory_bytes = facts.free_bytes / num_ranks};
  rank.peak_flop_per_second = datasheet_peak(facts.name) / num_ranks;
  rank.description = fmt::format("{} (compute capability {}.{}, {:.1f} GB)", facts.name, facts.major, facts.minor,
                                 static_cast<double>(facts.total_bytes) / 1e9);
  if (num_ranks > 1) rank.note = fmt::format("communication.device_sharing: {} ranks share {}", num_ranks, rank.description);
  return rank;
}

RankDevice choose_rank_device(RunConfig& config, const ConfigOrigins& origins, const World& world) {
  const int64_t asked = config.device();
  Communicator& ranks = world.communicator();
  const int64_t most = largest_of_ranks(ranks, asked), least = -largest_of_ranks(ranks, -asked);
  if (most != least) {  // some would wait for others that never come
    raise(ErrorKind::kConfiguration, "device: {} and {} on different ranks: the configuration must be the same on every host",
          RunConfig::Device_Name(static_cast<RunConfig::Device>(least)),
          RunConfig::Device_Name(static_cast<RunConfig::Device>(most)));
  }
  if (config.device() != RunConfig::CUDA) {
    RankDevice cpu;
    // A backend that no GPU has run is for those who ask for it.
    if (config.device() == RunConfig::AUTO && num_cuda_devices() > 0) cpu.note = "device: AUTO is CPU; device CUDA uses the GPU";
    config.set_device(RunConfig::CPU);
    return cpu;
  }
  ConfigProblems problems(origins);
  if (!has_cuda()) {
    problems.add("device", "CUDA: this build has no CUDA; build it where a CUDA toolkit 13 is found, or use CPU");
    problems.raise_if_any();
  }
  RankDevice gpu;
  try {
    gpu = gpu_of_rank(config, world);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kConfiguration) throw;
    problems.add("device", "CUDA: {}", error.what());
  }
  problems.raise_if_any();
  return gpu;
}

std::unique_ptr<Communicator> connect_devices(const RankDevice& device, const RunConfig& config, const World& world) {
  if (device.on_cpu() || world.size() == 1) return nullptr;
  if (!has_nccl()) return make_staging_communicator(world.communicator());
  use_cuda_device(device.device.ordinal);
  const NcclOptions options{.max_multiprocessors = static_cast<int>(config.communication().max_multiprocessors())};
  return make_nccl_communicator(world.communicator(), make_nccl_library(options));
}

}  // namespace longspan
