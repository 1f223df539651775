#include "parallel/comm/ring_pass.h"

namespace longspan {

namespace {

int owner_at(const Communicator& ring, int hop) { return (ring.rank() - hop + ring.size()) % ring.size(); }

void check_shapes(const std::vector<Tensor>& tensors, const std::vector<Shape>& shapes, const char* what) {
  check(tensors.size() == shapes.size(), "{}: {} tensors for {} shapes", what, tensors.size(), shapes.size());
  for (size_t i = 0; i < tensors.size(); ++i) expect_shape(tensors[i], shapes[i], what);
}

// Sends each tensor to the next rank and receives tensors of these shapes, and the same dtypes, from the previous one.
std::vector<Work> pass_on(Context& context, Communicator& ring, const std::vector<Tensor>& sending,
                          const std::vector<Shape>& shapes, std::vector<Tensor>& arriving) {
  check(sending.size() == shapes.size(), "{} tensors leave for the ring, but {} shapes arrive", sending.size(),
        shapes.size());
  const int next = (ring.rank() + 1) % ring.size(), previous = owner_at(ring, 1);
  std::vector<Work> works;
  arriving.clear();
  for (size_t i = 0; i < sending.size(); ++i) {
    arriving.push_back(context.empty(shapes[i], sending[i].dtype(), MemoryTag::kCommunication));
    works.push_back(ring.send_recv(
        context.stream(), {.send = sending[i], .to = next, .receive = arriving[i], .from = previous}));
  }
  return works;
}

void wait_all(std::vector<Work>& works) {
  for (Work& work : works) work.wait();
  works.clear();
}

}  // namespace

RingPass::RingPass(Context& context, Communicator& communicator, std::vector<Tensor> own,
                   std::function<std::vector<Shape>(int owner)> shapes_of)
    : context_(context),
      communicator_(communicator),
      shapes_of_(std::move(shapes_of)),
      hop_{.index = 0, .owner = communicator.rank(), .tensors = std::move(own)},
      progress_(context, [&communicator] { communicator.progress(); }) {
  check_shapes(hop_.tensors, shapes_of_(communicator.rank()), "a rank's own tensors in a ring");
  post();
}

// While an exception unwinds, a transfer may still be under way: its Work is dropped, and the backend keeps the buffers.
RingPass::~RingPass() = default;

void RingPass::post() {
  if (hop_.index + 1 >= communicator_.size()) return;
  const TraceRange range(context_.tracer(), TimeCategory::kCommunication, kRingTransfer, {.hop = hop_.index + 1});
  works_ = pass_on(context_, communicator_, hop_.tensors, shapes_of_(owner_at(communicator_, hop_.index + 1)), incoming_);
}

void RingPass::advance() {
  wait_all(works_);
  // Releases the tensors of the hop before, so that no more than two sets of received tensors exist at a time.
  hop_ = {.index = hop_.index + 1, .owner = owner_at(communicator_, hop_.index + 1), .tensors = std::move(incoming_)};
  incoming_.clear();
  post();
}

TravellingSum::TravellingSum(Context& context, Communicator& communicator,
                             std::function<std::vector<Shape>(int owner)> shapes_of, Accumulate accumulate, Begin begin)
    : context_(context),
      communicator_(communicator),
      shapes_of_(std::move(shapes_of)),
      accumulate_(std::move(accumulate)),
      first_hop_(begin == Begin::kWithOwn ? 0 : 1),
      hop_(first_hop_) {}

int TravellingSum::next_owner() const { return owner_at(communicator_, hop_ % communicator_.size()); }

void TravellingSum::add(std::vector<Tensor> contribution) {
  const int num_ranks = communicator_.size();
  check(hop_ - first_hop_ < num_ranks, "contribution {} to a travelling sum over {} ranks", hop_ - first_hop_ + 1, num_ranks);
  check_shapes(contribution, shapes_of_(next_owner()), "a contribution to a travelling sum");
  const TraceArgs args = {.hop = hop_};
  const TraceRange range(context_.tracer(), TimeCategory::kCommunication, kGradientTransfer, args);
  wait_all(works_);
  if (!arriving_.empty()) add_arrived(contribution, args);
  sending_ = std::move(contribution);
  ++hop_;
  if (at_home()) return;
  works_ = pass_on(context_, communicator_, sending_, shapes_of_(next_owner()), arriving_);
}

void TravellingSum::add_arrived(const std::vector<Tensor>& contribution, const TraceArgs& args) {
  const TraceRange range(context_.tracer(), TimeCategory::kCompute, "add gradients", args);
  for (size_t i = 0; i < arriving_.size(); ++i) accumulate_(arriving_[i], contribution[i]);
  arriving_.clear();
}

std::vector<Tensor> TravellingSum::finish() {
  check(hop_ - first_hop_ == communicator_.size(), "a travelling sum over {} ranks was finished after {} contributions",
        communicator_.size(), hop_ - first_hop_);
  wait_all(works_);
  return std::move(at_home() ? sending_ : arriving_);
}

}  // namespace longspan
