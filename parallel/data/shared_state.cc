#include "parallel/data/shared_state.h"

namespace longspan {

namespace {
constexpr const char* kGather = "gather of values";  // in a trace
}  // namespace

void gather_pieces(const Context& context, Communicator& group, const Tensor& flat) {
  const int size = group.size(), rank = group.rank();
  if (size == 1) return;
  const TraceRange range(context.tracer(), TimeCategory::kCommunication, kGather);
  const int64_t piece = flat.num_elements() / size;
  check(piece * size == flat.num_elements(), "{} elements are no {} equal pieces", flat.num_elements(), size);
  const auto of = [&](int owner) { return flat.slice(0, (owner + size) % size * piece, ((owner + size) % size + 1) * piece); };
  for (int hop = 0; hop + 1 < size; ++hop) {
    group.send_recv(context.stream(), {.send = of(rank - hop),
                                       .to = (rank + 1) % size,
                                       .receive = of(rank - hop - 1),
                                       .from = (rank - 1 + size) % size})
        .wait();
  }
}

void share_values(const Context& context, Communicator& replicas, ParameterSet& parameters) {
  if (parameters.share().num_ranks == 1 || parameters.share().of_weights()) return;
  for (const Bucket& bucket : parameters.buckets()) {
    gather_pieces(context, replicas, parameters.values().slice(0, bucket.range.begin, bucket.range.end));
  }
  parameters.pack_values(context);
}

BucketSums::BucketSums(Context& context, Communicator& replicas, ParameterSet& parameters)
    : parameters_(parameters),
      reduction_(context, replicas,
                 parameters.share().num_ranks > 1 ? RingReduction::Result::kOwnPiece : RingReduction::Result::kAll) {
  const int sharers = parameters.share().num_ranks;
  check(sharers == 1 || sharers == replicas.size(), "{} ranks share state, {} reduce", sharers, replicas.size());
}

void BucketSums::start(const Bucket& bucket) {
  Tensor data = parameters_.take_gradients(bucket);
  if (!parameters_.share().of_gradients()) return reduction_.start(std::move(data));
  if (data.defined()) reduction_.start_into(std::move(data), parameters_.own_gradients(bucket.own));
}

void reduce_gradients(Context& context, Communicator& replicas, ParameterSet& parameters) {
  BucketSums sums(context, replicas, parameters);
  for (const Bucket& bucket : parameters.buckets()) sums.start(bucket);
  sums.finish();
}

}  // namespace longspan
