#include "parallel/data/gathered_weights.h"

namespace longspan {

GatheredWeights::GatheredWeights(Context& context, Communicator& group, ParameterSet& parameters)
    : context_(context), parameters_(parameters), gather_(context, group, RingReduction::Result::kGathered) {}

void GatheredWeights::open(size_t bucket) {
  if (open_.contains(bucket)) return;
  gather_.start(open_[bucket] = parameters_.open_values(context_, parameters_.buckets()[bucket]));
}

void GatheredWeights::use(int block, int next) {
  const std::set<size_t> now = parameters_.buckets_read_by(block), later = parameters_.buckets_read_by(next);
  std::erase_if(open_, [&](const auto& opened) {
    if (now.contains(opened.first) || later.contains(opened.first)) return false;
    parameters_.close_values(parameters_.buckets()[opened.first]);
    return true;
  });
  for (const size_t bucket : now) open(bucket);
  for (const size_t bucket : now) gather_.finish(open_.at(bucket));
  for (const size_t bucket : later) open(bucket);
}

void GatheredWeights::close() {
  gather_.finish();
  for (const auto& [bucket, gathered] : open_) parameters_.close_values(parameters_.buckets()[bucket]);
  open_.clear();
}

}  // namespace longspan
