#include "parallel/data/gathered_weights.h"

namespace longspan {

GatheredWeights::GatheredWeights(Context& context, Communicator& group, ParameterSet& parameters)
    : context_(context), parameters_(parameters), gather_(context, group, RingReduction::Result::kGathered) {}

void GatheredWeights::open(size_t bucket) {
  if (!open_.insert(bucket).second) return;
  gather_.start(parameters_.open_values(context_, parameters_.buckets()[bucket]));
}

void GatheredWeights::use(int block, int next) {
  const std::set<size_t> now = parameters_.buckets_read_by(block), later = parameters_.buckets_read_by(next);
  for (const size_t bucket : std::set<size_t>(open_)) {
    if (now.contains(bucket) || later.contains(bucket)) continue;
    parameters_.close_values(parameters_.buckets()[bucket]);
    open_.erase(bucket);
  }
  for (const size_t bucket : now) open(bucket);
  gather_.finish();
  for (const size_t bucket : later) open(bucket);
}

void GatheredWeights::close() {
  gather_.finish();
  for (const size_t bucket : open_) parameters_.close_values(parameters_.buckets()[bucket]);
  open_.clear();
}

}  // namespace longspan
