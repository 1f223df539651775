#include "parallel/data/shared_state.h"

#include "parallel/data/ring_reduction.h"

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
  if (parameters.share().num_ranks == 1) return;
  gather_pieces(context, replicas, parameters.values());
  parameters.pack_values(context);
}

void reduce_gradients(Context& context, Communicator& replicas, ParameterSet& parameters) {
  if (parameters.share().num_ranks == 1) return replicas.all_reduce(context.stream(), parameters.gradients(), ReduceOp::kSum);
  check(parameters.share().num_ranks == replicas.size(), "{} ranks share state, {} reduce", parameters.share().num_ranks,
        replicas.size());
  RingReduction reduction(context, replicas, RingReduction::Result::kOwnPiece);
  reduction.start(parameters.gradients());
  reduction.finish();
}

}  // namespace longspan
