#include "train/rank_context.h"

#include "attention/kernels/block_attention.h"
#include "core/kernels/backends.h"

namespace longspan {

namespace {

std::shared_ptr<StatisticsResource> counted(const RankResources& resources) {
  std::shared_ptr<MemoryResource> memory = resources.memory;
  if (!memory) memory = std::make_shared<CachingResource>(std::make_shared<HostResource>());
  return std::make_shared<StatisticsResource>(std::move(memory));
}

}  // namespace

std::shared_ptr<const KernelSet> kernels_for(DType compute_dtype, CpuLevel level) {
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
      context_({.device = {},
                .compute_dtype = compute_dtype,
                .num_threads = resources.num_threads,
                .memory = statistics_,
                .kernels = resources.kernels ? resources.kernels : kernels_for(compute_dtype, resources.cpu_level),
                .tracer = measure == Measure::kTime
                              ? std::make_shared<Tracer>(Tracer::Options{.memory = statistics_, .clock = {}})
                              : nullptr}) {}

}  // namespace longspan
