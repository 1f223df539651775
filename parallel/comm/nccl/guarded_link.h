// GuardedLink: a link that cannot hang its rank. Every wait looks at the operation, at NCCL's asynchronous error and at the
// clock; on an error, or when the group's timeout has passed, the link is aborted, which ends NCCL's kernels on this device,
// and CommError names the group, the call and the peers. From then on every call raises.
//
//   connecting -> ready -> (start: adding -> under way -> done)* -> finalized
//        any of these -> given up, by an error or the clock
//
// Operations run in the order they were started. NCCL adds them to the stream in the background: the next one starts when that
// has happened. The time that this rank's own compute takes, which an operation waits for on the device, does not count.
// A link holds the tensors of its operations until they are done or aborted, even when their Work is dropped.
// Once an operation is done here, it is done for everything that any stream is given afterwards.
// Where the tracer of the compute stream records, each operation leaves a span of the link's stream: from the moment at which all
// that it waits for on this device is done to its end, waiting for peers included. There, start waits until NCCL has added the
// operation, so that the point of its end follows it at once.
// Of one thread, like its group. An abort by one rank leaves its peers to their own errors and timeouts, and other links alone
// (tests/parallel/nccl_failures_test.cc).
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "core/runtime/trace.h"
#include "parallel/comm/nccl/library.h"

namespace longspan::nccl {

class Operation {
 public:
  bool done() const { return done_; }

 private:
  friend class GuardedLink;
  std::string call_, peers_;     // "send_recv of 64 bytes", "rank 1 (to), rank 3 (from)"
  std::vector<Tensor> held_;
  std::unique_ptr<Point> ready_;  // what it waits for on this rank; null once reached
  std::unique_ptr<Point> end_;    // null while NCCL still adds it to the stream
  bool done_ = false;
  std::shared_ptr<Tracer> tracer_;  // null: it leaves no span
  StreamSpan span_;
};

class GuardedLink {
 public:
  // Waits until all ranks have met. `group` is named in errors: "group 'ring', rank 0 of 4".
  GuardedLink(std::unique_ptr<Link> link, const std::string& group, std::chrono::milliseconds timeout,
              std::shared_ptr<Clock> clock);
  // Finalizes, which waits for the peers; aborts when that fails, when something is under way or while an exception unwinds.
  ~GuardedLink();
  GuardedLink(const GuardedLink&) = delete;
  GuardedLink& operator=(const GuardedLink&) = delete;

  struct What {
    std::string call, peers;
    std::vector<Tensor> held;
    TraceArgs args = {};
  };
  // Calls add(link) behind what `compute` was given so far.
  std::shared_ptr<Operation> start(Stream& compute, What what, const std::function<Answer(Link&)>& add);
  bool test(Operation& operation);  // true when done
  void wait(Operation& operation);
  void progress() noexcept;  // a look; what fails shows in the next call
  bool given_up() const { return !failure_.empty(); }

 private:
  void settle(const std::string& call, const std::string& peers);
  void look(const std::string& call);
  void begin_span(Operation& operation, const Stream& compute, const TraceArgs& args);
  void mark_end(Operation& operation);
  bool compute_is_ahead(Operation& operation);
  [[noreturn]] void give_up(const std::string& call, const std::string& reason);
  std::string silence(const std::string& peers) const;
  void finalize();

  std::unique_ptr<Link> link_;
  std::string group_;
  std::chrono::milliseconds timeout_;
  std::shared_ptr<Clock> clock_;
  std::deque<std::shared_ptr<Operation>> under_way_;  // in their order; only the last can still be without an end
  std::string failure_;  // of a link that was given up
};

}  // namespace longspan::nccl
