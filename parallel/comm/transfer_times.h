// TransferTimes: what a group and the Works of its send_recvs share, to measure them. Of one thread, like the group.
#pragma once

#include <memory>
#include <vector>

#include "core/runtime/trace.h"

namespace longspan {

// The part of an operation under way that tells, without moving bytes, whether the last progress has finished it.
class Finishable {
 public:
  virtual ~Finishable() = default;
  // Cheap; false where it cannot be known before a wait. An operation that failed is finished, too.
  virtual bool finished() const noexcept { return false; }
};

class TransferTimes {
 public:
  void add_wait(double seconds) { waited_seconds_ += seconds; }
  double waited_seconds() const { return waited_seconds_; }

  // The transfer has been posted; the tracer sees its end as soon as one of the other two does.
  void post(const std::shared_ptr<Tracer>& tracer, const std::shared_ptr<Finishable>& transfer, const TraceArgs& args);
  void poll() noexcept;  // after progress
  void finish(const Finishable& transfer) noexcept;

 private:
  struct Transfer {
    std::shared_ptr<Tracer> tracer;
    const Finishable* id;
    std::weak_ptr<const Finishable> state;  // gone: dropped while an exception unwound
    TraceEvent event;
  };
  template <class Done>
  void end_if(Done done) noexcept;

  double waited_seconds_ = 0;
  std::vector<Transfer> transfers_;
};

}  // namespace longspan
