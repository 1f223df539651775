// Rank 0's clock as the others see it, so that times of all ranks can be laid on one line.
//
// A rank asks rank 0 for its time and halves the round trip: its own clock stood between the two readings (t0, t1) when
// rank 0's read t, so rank 0's is ahead by t - (t0 + t1) / 2, give or take (t1 - t0) / 2 (Cristian 1989). The quickest
// of several round trips counts.
#pragma once

#include <functional>

#include "core/runtime/context.h"
#include "parallel/comm/communicator.h"

namespace longspan {

struct ClockReading {
  int64_t at_ns = 0;     // this rank's clock
  int64_t ahead_ns = 0;  // how far rank 0's is ahead of it
  int64_t uncertainty_ns = 0;
};

// Collective over `world`; nothing else may be under way. `now`: this rank's clock, in nanoseconds.
ClockReading read_reference_clock(const Context& context, Communicator& world, const std::function<int64_t()>& now);

// Between two readings the clocks drift evenly.
class ReferenceClock {
 public:
  ReferenceClock(const ClockReading& first, const ClockReading& second) : first_(first), second_(second) {}
  int64_t from_local(int64_t local_ns) const;
  int64_t uncertainty_ns() const { return std::max(first_.uncertainty_ns, second_.uncertainty_ns); }

 private:
  ClockReading first_, second_;
};

}  // namespace longspan
