#include "parallel/comm/reference_clock.h"

namespace longspan {

namespace {

constexpr int kRounds = 16;

// One number each way at a time, without the tracer that the context's own stream may have.
class Exchange {
 public:
  Exchange(const Context& context, Communicator& world)
      : world_(world),
        stream_(Stream::make_inline()),
        number_(context.zeros({1}, DType::kInt64, MemoryTag::kWorkspace)),
        nothing_(context.empty({0}, DType::kInt64, MemoryTag::kWorkspace)) {}

  void send(int peer, int64_t value) {
    *number_.data<int64_t>() = value;
    world_.send_recv(*stream_, {.send = number_, .to = peer, .receive = nothing_, .from = peer}).wait();
  }

  int64_t receive(int peer) {
    world_.send_recv(*stream_, {.send = nothing_, .to = peer, .receive = number_, .from = peer}).wait();
    return *number_.data<int64_t>();
  }

 private:
  Communicator& world_;
  std::shared_ptr<Stream> stream_;
  Tensor number_, nothing_;
};

}  // namespace

ClockReading read_reference_clock(const Context& context, Communicator& world, const std::function<int64_t()>& now) {
  Exchange exchange(context, world);
  if (world.rank() == 0) {
    for (int peer = 1; peer < world.size(); ++peer) {
      for (int round = 0; round < kRounds; ++round) {
        exchange.receive(peer);
        exchange.send(peer, now());
      }
    }
    return {.at_ns = now()};
  }
  ClockReading best;
  for (int round = 0; round < kRounds; ++round) {
    const int64_t before = now();
    exchange.send(0, before);
    const int64_t reference = exchange.receive(0), after = now();
    const int64_t middle = before + (after - before) / 2, uncertainty = (after - before + 1) / 2;
    if (round > 0 && uncertainty >= best.uncertainty_ns) continue;
    best = {.at_ns = middle, .ahead_ns = reference - middle, .uncertainty_ns = uncertainty};
  }
  return best;
}

int64_t ReferenceClock::from_local(int64_t local_ns) const {
  const int64_t between_ns = second_.at_ns - first_.at_ns;
  if (between_ns <= 0) return local_ns + first_.ahead_ns;
  const double share = static_cast<double>(local_ns - first_.at_ns) / static_cast<double>(between_ns);
  return local_ns + first_.ahead_ns +
         static_cast<int64_t>(share * static_cast<double>(second_.ahead_ns - first_.ahead_ns));
}

}  // namespace longspan
