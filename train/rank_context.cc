#include "train/rank_context.h"

#include "attention/kernels/block_attention.h"
#include "core/kernels/backends.h"
#include "core/runtime/cuda.h"

namespace longspan {

namespace {

std::shared_ptr<StatisticsResource> counted(const RankResources& resources) {
  std::shared_ptr<MemoryResource> memory = resources.memory;
  const bool on_cpu = resources.device.type == DeviceType::kCpu;
  if (!memory && on_cpu) memory = std::make_shared<CachingResource>(std::make_shared<HostResource>());
  if (!memory) memory = std::make_shared<CachingResource>(make_cuda_memory(resources.device.ordinal));
  return std::make_shared<StatisticsResource>(std::move(memory));
}

// All but the tracer, which the caller sets.
Context::Options options_for(DType compute_dtype, const RankResources& resources, std::shared_ptr<MemoryResource> memory) {
  Context::Options options;
  options.device = resources.device;
  options.compute_dtype = compute_dtype;
  options.num_threads = resources.num_threads;
  options.memory = std::move(memory);
  options.kernels =
      resources.kernels ? resources.kernels : kernels_for(compute_dtype, resources.cpu_level, resources.device);
  if (resources.device.type == DeviceType::kCpu) return options;
  options.stream = resources.stream ? resources.stream : make_cuda_stream(resources.device.ordinal);
  options.host_memory = resources.host_memory;
  if (!options.host_memory) {
    options.host_memory = std::make_shared<CachingResource>(make_pinned_memory(), Reuse::kWhenDone);
  }
  return options;
}

Context::Options traced(Context::Options options) {
  // Events are the host's.
  const auto& memory = options.host_memory ? options.host_memory : options.memory;
  options.tracer = std::make_shared<Tracer>(Tracer::Options{.memory = memory, .clock = {}});
  return options;
}

}  // namespace

std::shared_ptr<const KernelSet> kernels_for(DType compute_dtype, CpuLevel level, Device device) {
  if (device.type == DeviceType::kCuda) {
    auto kernels = std::make_shared<KernelSet>("cuda");
    add_cuda_kernels(*kernels);
    add_cuda_attention(*kernels);
    return kernels;
  }
  if (compute_dtype == DType::kFloat64) {
    auto kernels = std::make_shared<KernelSet>("reference");
    add_reference_kernels(*kernels);
    add_reference_attention(*kernels);
    return kernels;
  }
  auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_kernels(*kernels, level);
  add_cpu_attention(*kernels, level);
  return kernels;
}

RankContext::RankContext(DType compute_dtype, const RankResources& resources, Measure measure)
    : statistics_(counted(resources)),
      context_(measure == Measure::kTime ? traced(options_for(compute_dtype, resources, statistics_))
                                         : options_for(compute_dtype, resources, statistics_)) {}

}  // namespace longspan
