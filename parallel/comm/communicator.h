// Communicator: a group of ranks that move bytes among themselves. Passed, never fetched; there is no global group.
//
// Public calls check and trace (where the stream has a tracer), private virtuals transport. Every rank of the group makes
// the same calls in the same order.
// Every blocking wait has a timeout, after which CommError names the group, the call and the peers. Tensors are contiguous.
// A peer that failed or sends another size raises CommError, too. Backends of the host finish what the stream was given
// before they touch a tensor. A communicator belongs to one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/runtime/stream.h"
#include "core/tensor/tensor.h"
#include "parallel/comm/transfer_times.h"

namespace longspan {

enum class ReduceOp { kSum, kMax };

// An operation under way. Holds its buffers until it is waited for; waiting twice is allowed. Dropping an unfinished
// Work without waiting is a bug of the caller, except while an exception unwinds.
class Work {
 public:
  class State : public Finishable {
   public:
    virtual bool test() = 0;  // moves bytes along; true when done
    virtual void wait() = 0;  // raises CommError after the group's timeout
  };
  Work() = default;  // already done
  explicit Work(std::shared_ptr<State> state) : state_(std::move(state)) {}
  bool test();
  // Until it is done, `meanwhile` is called again and again, as long as it says that it has something to do.
  void wait(const std::function<bool()>& meanwhile = nullptr);

 private:
  friend class Communicator;
  std::shared_ptr<State> state_;
  std::shared_ptr<TransferTimes> times_;  // of the group
  std::shared_ptr<Tracer> tracer_;
};

struct SendRecv {
  Tensor send;  // may be empty (zero elements)
  int to = 0;
  Tensor receive;  // never overlaps send
  int from = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& name() const { return name_; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  // Which host each rank of this group is on, by rank, as any numbers; ranks with one number share memory. All on one, unless the
  // backend, or a test, has said otherwise. Groups that are split off do not know.
  const std::vector<int>& hosts() const { return *hosts_; }
  // The same on every rank, as many as there are.
  void place_on_hosts(std::vector<int> host_of_rank);

  // In place; float64, float32, int64. The order of summation is fixed for a group size, so results repeat to the bit. The
  // maximum of a NaN and anything is NaN.
  void all_reduce(Stream& stream, const Tensor& data, ReduceOp op);
  void broadcast(Stream& stream, const Tensor& data, int root);
  // output [size, ...]: the inputs by rank. All inputs of one shape.
  void all_gather(Stream& stream, const Tensor& input, const Tensor& output);
  // One call for both directions, so that a ring hop cannot deadlock. Messages between two ranks keep their order.
  [[nodiscard]] Work send_recv(Stream& stream, const SendRecv& message);
  void barrier(Stream& stream);
  // Ranks of one color form a group, ordered by (key, rank). Collective over this group.
  std::unique_ptr<Communicator> split(int color, int key, const std::string& name);
  // Moves bytes of operations under way along, where the backend needs to be called for that. Cheap; never blocks and
  // never raises, since kernels call it: what fails shows when the operation is waited for.
  void progress() {
    do_progress();
    times_->poll();
  }
  // How long this rank has waited for its send_recvs so far: communication that no compute hid.
  double waited_seconds() const { return times_->waited_seconds(); }

 protected:
  Communicator(int rank, int size, std::string name, std::chrono::milliseconds timeout);
  // For those that are around another: its ranks, name and hosts.
  struct Around {
    const Communicator& inner;
  };
  explicit Communicator(Around around);
  // For backends of the host, which read and write tensors themselves: finishes what the stream was given. Raises for a
  // device's stream, as its tensors are out of their reach.
  void finish_on_host(Stream& stream) const;

 private:
  virtual void do_all_reduce(Stream&, const Tensor& data, ReduceOp op) = 0;
  virtual void do_broadcast(Stream&, const Tensor& data, int root) = 0;
  virtual void do_all_gather(Stream&, const Tensor& input, const Tensor& output) = 0;
  virtual Work do_send_recv(Stream&, const SendRecv& message) = 0;
  virtual void do_barrier(Stream&) = 0;
  virtual std::unique_ptr<Communicator> do_split(int color, int key, const std::string& name) = 0;
  virtual void do_progress() {}

  int rank_, size_;
  std::string name_;
  std::chrono::milliseconds timeout_;
  std::shared_ptr<const std::vector<int>> hosts_;
  std::shared_ptr<TransferTimes> times_ = std::make_shared<TransferTimes>();
};

}  // namespace longspan
