// What one rank of a run computes with: its context over a caching and counted memory, and the kernels of
// the run's precision (float64 runs on the reference kernels).
#pragma once

#include "core/runtime/context.h"
#include "train/train.h"

namespace longspan {

// Of a device; `level` is a CPU's. Raises Error(kConfiguration) for what this build or this device has not.
std::shared_ptr<const KernelSet> kernels_for(DType compute_dtype, CpuLevel level = detect_cpu_level(), Device device = {});

class RankContext {
 public:
  enum class Measure { kNothing, kTime };
  RankContext(DType compute_dtype, const RankResources& resources, Measure measure = Measure::kNothing);

  Context& context() { return context_; }
  Tracer& tracer() { return *context_.tracer(); }  // with kTime only
  MemoryStatistics memory() const { return statistics_->statistics(); }

 private:
  std::shared_ptr<StatisticsResource> statistics_;
  Context context_;
};

}  // namespace longspan
