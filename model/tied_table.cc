#include "model/tied_table.h"

#include <algorithm>

#include "core/kernels/elementwise.h"

namespace longspan {

namespace {
constexpr int64_t kMessageElements = int64_t{1} << 22;  // of what arrives, which needs memory
}  // namespace

TiedTable::TiedTable(const ProcessMesh& mesh, const Decoder& decoder, const StateShare& share) : decoder_(decoder) {
  if (mesh.shape().pipeline == 1 || decoder.spec().tie_embeddings == ModelSpec::Tie::kNo) return;
  const bool holds = decoder.half_of_tied_table() != nullptr;
  Communicator& world = mesh.world();
  // By part of the table, and by replica where each has all sums; ranks that hold none make groups of themselves, and drop them.
  const int replicas = mesh.replicas().size(), replica = share.num_ranks > 1 ? 0 : mesh.replicas().rank();
  const int color = holds ? mesh.coordinate(Axis::kTensor) * replicas + replica : mesh.shape().tensor * replicas + world.rank();
  copies_ = world.split(color, mesh.map().place_of(world.rank()), "table");
  if (!holds) copies_.reset();
}

TiedTable::Kept TiedTable::own() const {
  for (const ParameterSet::Part& part : decoder_.parameters().parts()) {
    if (part.parameter == decoder_.half_of_tied_table()) return {.range = {part.begin, part.end}, .gradient = part.gradient};
  }
  return {};  // its piece of the bucket has other parameters
}

void TiedTable::tell_ranges(const Context& context, const FlatRange& own) {
  const Context& host = context.host();
  const Tensor mine = host.empty({2}, DType::kInt64, MemoryTag::kCommunication);
  const Tensor all = host.empty({copies_->size(), 2}, DType::kInt64, MemoryTag::kCommunication);
  mine.data<int64_t>()[0] = own.begin;
  mine.data<int64_t>()[1] = own.end;
  copies_->all_gather(host.stream(), mine, all);
  const auto* edges = all.data<int64_t>();
  for (int rank = 0; rank < copies_->size(); ++rank) ranges_.push_back({edges[2 * rank], edges[2 * rank + 1]});
}

// In the order of the table on all ranks, so that nobody waits for one who waits for another.
void TiedTable::exchange(Context& context) {
  if (!copies_) return;
  const Kept kept = own();
  if (ranges_.empty()) tell_ranges(context, kept.range);
  const int half = copies_->size() / 2, other = copies_->rank() < half ? half : 0;
  for (int peer = other; peer < other + half; ++peer) {
    const FlatRange& theirs = ranges_[static_cast<size_t>(peer)];
    const int64_t begin = std::max(kept.range.begin, theirs.begin), end = std::min(kept.range.end, theirs.end);
    for (int64_t at = begin; at < end; at += kMessageElements) {
      const int64_t first = at - kept.range.begin, count = std::min(kMessageElements, end - at);
      exchange(context, peer, kept.gradient.slice(0, first, first + count));
    }
  }
}

void TiedTable::exchange(Context& context, int peer, const Tensor& gradient) {
  const Tensor arriving = context.empty(gradient.shape(), gradient.dtype(), MemoryTag::kCommunication);
  copies_->send_recv(context.stream(), {.send = gradient, .to = peer, .receive = arriving, .from = peer}).wait();
  context.kernels<Elementwise>().accumulate(context, arriving, gradient);
}

}  // namespace longspan
