#include "parallel/comm/transfer_times.h"

namespace longspan {

void TransferTimes::post(const std::shared_ptr<Tracer>& tracer, const std::shared_ptr<Finishable>& transfer,
                         const TraceArgs& args) {
  transfers_.push_back({tracer, transfer.get(), transfer, {}});
  transfers_.back().event = tracer->begin_transfer(args);
}

template <class Done>
void TransferTimes::end_if(Done done) noexcept {
  std::erase_if(transfers_, [&](const Transfer& transfer) {
    if (!done(transfer)) return false;
    transfer.tracer->end_transfer(transfer.event);
    return true;
  });
}

void TransferTimes::poll() noexcept {
  for (const Transfer& transfer : transfers_) transfer.tracer->let_on();
  end_if([](const Transfer& transfer) {
    const auto state = transfer.state.lock();
    return !state || state->finished();
  });
}

void TransferTimes::finish(const Finishable& done) noexcept {
  end_if([&](const Transfer& transfer) { return transfer.id == &done; });
}

}  // namespace longspan
