// What one rank of a run computes with: its context over a caching and counted memory, and the kernels of
// the run's precision (float64 runs on the reference kernels).
#pragma once

#include "core/runtime/context.h"
#include "train/train.h"

namespace longspan {

std::shared_ptr<const KernelSet> kernels_for(DType compute_dtype);

class RankContext {
 public:
  RankContext(DType compute_dtype, const RankResources& resources);

  Context& context() { return context_; }
  MemoryStatistics memory() const { return statistics_->statistics(); }

 private:
  std::shared_ptr<StatisticsResource> statistics_;
  Context context_;
};

}  // namespace longspan
