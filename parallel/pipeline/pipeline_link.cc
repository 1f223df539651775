#include "parallel/pipeline/pipeline_link.h"

#include "core/base/error.h"

namespace longspan {

namespace {

// Nothing, of the tensor's dtype: the side of a message that goes the other way.
Tensor nothing_of(const Tensor& tensor) {
  return tensor.slice(0, 0, 0);
}

}  // namespace

PipelineLink::PipelineLink(Communicator& pipeline) : rank_(pipeline.rank()), timeout_(pipeline.timeout()) {
  const int size = pipeline.size();
  const int num_edges = size > 2 ? size : size - 1;  // edge e joins ranks e and e + 1; two ranks have one
  // Edges without a rank in common are made by one split: the even ones, the odd ones, and in a ring of an
  // odd size the last.
  for (int turn = 0; turn < 3; ++turn) {
    const auto is_now = [&](int e) { return (size % 2 == 1 && e == size - 1 ? 2 : e % 2) == turn; };
    bool any = false;
    int edge = -1;
    for (int e = 0; e < num_edges; ++e) {
      if (!is_now(e)) continue;
      any = true;
      if (rank_ == e || rank_ == (e + 1) % size) edge = e;
    }
    if (!any) continue;
    // A rank without an edge in this turn makes a group of itself, and drops it.
    const int color = edge >= 0 ? edge : size + rank_;
    auto ahead = pipeline.split(color, rank_, "pipeline ahead");
    auto back = pipeline.split(color, rank_, "pipeline back");
    if (edge < 0) continue;
    const bool is_first = rank_ == edge;
    neighbours_.push_back({is_first ? (edge + 1) % size : edge, std::move(is_first ? ahead : back),
                           std::move(is_first ? back : ahead)});
  }
}

PipelineLink::Neighbour& PipelineLink::neighbour(int rank) {
  for (Neighbour& candidate : neighbours_) {
    if (candidate.rank == rank) return candidate;
  }
  raise(ErrorKind::kInternal, "pipeline rank {} has no link to rank {}, which is no neighbour", rank_, rank);
}

void PipelineLink::connect(const Context& context) {
  if (connected_ || !context.stream().on_device()) return;
  const Tensor sent = context.zeros({1}, DType::kFloat32), received = context.empty({1}, DType::kFloat32);
  for (const Neighbour& own : neighbours_) {
    // The group in which rank 0 sends first, on both ranks.
    const bool is_first = own.sending->rank() == 0;
    for (Communicator* group :
         {is_first ? own.sending.get() : own.receiving.get(), is_first ? own.receiving.get() : own.sending.get()}) {
      const int peer = 1 - group->rank();
      group->send_recv(context.stream(), {.send = sent, .to = peer, .receive = received, .from = peer}).wait();
    }
  }
  connected_ = true;
}

Work PipelineLink::send(Stream& stream, const Tensor& tensor, int to) {
  Communicator& group = *neighbour(to).sending;
  const int peer = 1 - group.rank();
  return group.send_recv(stream, {.send = tensor, .to = peer, .receive = nothing_of(tensor), .from = peer});
}

Work PipelineLink::receive(Stream& stream, const Tensor& tensor, int from) {
  Communicator& group = *neighbour(from).receiving;
  const int peer = 1 - group.rank();
  return group.send_recv(stream, {.send = nothing_of(tensor), .to = peer, .receive = tensor, .from = peer});
}

void PipelineLink::progress() {
  for (Neighbour& own : neighbours_) {
    own.sending->progress();
    own.receiving->progress();
  }
}

}  // namespace longspan
