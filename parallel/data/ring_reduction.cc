#include "parallel/data/ring_reduction.h"

#include "core/kernels/elementwise.h"

namespace longspan {

Piece piece_of(int64_t n, int rank, int num_ranks) {
  const auto edge = [&](int64_t r) { return n / num_ranks * r + n % num_ranks * r / num_ranks; };
  return {edge(rank), edge(rank + 1)};
}

RingReduction::RingReduction(Context& context, Communicator& group, Result result)
    : context_(context), group_(group), result_(result), progress_(context, [this] { look(); }) {}

int RingReduction::num_hops() const { return (result_ == Result::kAll ? 2 : 1) * (group_.size() - 1); }

Tensor RingReduction::piece(int owner) const {
  const Tensor& data = waiting_.front();
  const Piece p = piece_of(data.num_elements(), (owner % group_.size() + group_.size()) % group_.size(), group_.size());
  return data.slice(0, p.begin, p.end);
}

void RingReduction::start(Tensor data) {
  check(data.rank() == 1 && data.layout().is_contiguous() && data.dtype() == context_.accumulator_dtype(),
        "a reduction takes flat tensors of the accumulator, not {} {}", name(data.dtype()), data.shape().to_string());
  if (group_.size() == 1) return;
  waiting_.push_back(std::move(data));
  if (waiting_.size() > 1 || failure_) return;
  busy_ = true;
  post();
  busy_ = false;
}

// In the first R - 1 hops the sum of piece rank - hop - 1 leaves and that of the piece before it arrives; in the others what leaves
// is done: the own piece first.
void RingReduction::post() {
  const int rank = group_.rank(), sums = group_.size() - 1;
  const int leaving = hop_ < sums ? rank - hop_ - 1 : rank - (hop_ - sums);
  const Tensor into = piece(leaving - 1);
  arriving_ = hop_ < sums ? context_.empty(into.shape(), into.dtype(), MemoryTag::kCommunication) : into;
  const TraceRange range(context_.tracer(), TimeCategory::kCommunication, kReductionTransfer, {.hop = hop_});
  work_ = group_.send_recv(context_.stream(), {.send = piece(leaving),
                                               .to = (rank + 1) % group_.size(),
                                               .receive = arriving_,
                                               .from = (rank + sums) % group_.size()});
}

void RingReduction::take_arrived() {
  const int sums = group_.size() - 1;
  if (hop_ < sums) context_.kernels<Elementwise>().accumulate(context_, arriving_, piece(group_.rank() - hop_ - 2));
  arriving_ = {};
  work_.reset();
  if (++hop_ < num_hops()) return post();
  hop_ = 0;
  waiting_.pop_front();
  if (!waiting_.empty()) post();
}

void RingReduction::advance(bool waits) {
  while (!waiting_.empty()) {
    if (waits) {
      work_->wait();
    } else if (!work_->test()) {
      return;
    }
    take_arrived();
  }
}

void RingReduction::look() noexcept {
  if (busy_ || failure_ || waiting_.empty()) return;
  busy_ = true;
  group_.progress();
  try {
    advance(false);
  } catch (...) {
    failure_ = std::current_exception();
  }
  busy_ = false;
}

void RingReduction::after_compute() {
  if (waiting_.empty()) return;
  if (context_.stream().on_device()) context_.stream().record().wait(group_.timeout());
  look();
}

void RingReduction::finish() {
  busy_ = true;
  if (failure_) std::rethrow_exception(failure_);
  advance(true);
  busy_ = false;
}

}  // namespace longspan
