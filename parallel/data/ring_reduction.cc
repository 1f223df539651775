#include "parallel/data/ring_reduction.h"

#include "core/kernels/elementwise.h"

namespace longspan {

Piece piece_of(int64_t n, int rank, int num_ranks) {
  const auto edge = [&](int64_t r) { return n / num_ranks * r + n % num_ranks * r / num_ranks; };
  return {edge(rank), edge(rank + 1)};
}

RingReduction::RingReduction(Context& context, Communicator& group, Result result)
    : context_(context), group_(group), result_(result) {}

Tensor RingReduction::piece(int owner) const {
  const Tensor& data = waiting_.front().data;
  const Piece p = piece_of(data.num_elements(), (owner % group_.size() + group_.size()) % group_.size(), group_.size());
  return data.slice(0, p.begin, p.end);
}

void RingReduction::start(Tensor data) { add({.data = std::move(data), .into = {}}); }

void RingReduction::start_into(Tensor data, Tensor into) {
  check(result_ == Result::kOwnPiece, "sums of {} elements have no one place to go", data.num_elements());
  add({.data = std::move(data), .into = std::move(into)});
  advance(kMostTaken);
}

void RingReduction::add(Sum sum) {
  const Tensor& data = sum.data;
  const bool summed = result_ != Result::kGathered;
  check(data.rank() == 1 && data.layout().is_contiguous() && (!summed || data.dtype() == context_.accumulator_dtype()),
        "a reduction takes flat tensors of the accumulator, not {} {}", name(data.dtype()), data.shape().to_string());
  if (group_.size() == 1) return;
  waiting_.push_back(std::move(sum));
  if (waiting_.size() > 1 || failure_) return;
  if (!progress_) progress_.emplace(context_, [this] { look(); });
  busy_ = true;
  hop_ = first_hop();
  post();
  busy_ = false;
}

// In the first R - 1 hops the sum of piece rank - hop - 1 leaves and that of the piece before it arrives; in the others what
// leaves is done: the own piece first.
void RingReduction::post() {
  const int rank = group_.rank(), sums = group_.size() - 1;
  const int leaving = hop_ < sums ? rank - hop_ - 1 : rank - (hop_ - sums);
  const Tensor into = piece(leaving - 1);
  arriving_ = hop_ < sums ? context_.empty(into.shape(), into.dtype(), MemoryTag::kCommunication) : into;
  const char* transfer = result_ == Result::kGathered ? kGatherTransfer : kReductionTransfer;
  const TraceRange range(context_.tracer(), TimeCategory::kCommunication, transfer, {.hop = hop_ - first_hop()});
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
  if (++hop_ < end_hop()) return post();
  if (const Tensor& into = waiting_.front().into; into.defined()) {
    context_.kernels<Elementwise>().accumulate(context_, piece(group_.rank()), into);
  }
  waiting_.pop_front();
  hop_ = first_hop();
  if (!waiting_.empty()) post();
}

void RingReduction::advance(size_t left) {
  busy_ = true;
  if (failure_) std::rethrow_exception(failure_);
  while (waiting_.size() > left) {
    work_->wait();
    take_arrived();
  }
  busy_ = false;
}

void RingReduction::advance_arrived() {
  while (!waiting_.empty() && work_->test()) take_arrived();
}

void RingReduction::look() noexcept {
  if (busy_ || failure_ || waiting_.empty()) return;
  busy_ = true;
  group_.progress();
  try {
    advance_arrived();
  } catch (...) {
    failure_ = std::current_exception();
  }
  busy_ = false;
}

void RingReduction::after_compute() {
  if (waiting_.empty()) return;
  if (context_.stream().on_device()) context_.stream().synchronize();
  look();
}

void RingReduction::finish() {
  advance(0);
  progress_.reset();
}

void RingReduction::finish(const Tensor& data) {
  size_t later = 0;  // those behind it
  while (later < waiting_.size() && waiting_[waiting_.size() - 1 - later].data.raw() != data.raw()) ++later;
  if (later < waiting_.size()) advance(later);
}

}  // namespace longspan
