// What the communicator needs of NCCL and CUDA, and nothing of their headers: so that tests play slow peers, errors and silence
// without a GPU (tests/parallel), and the code that only a GPU can run stays thin (cuda_library.cc).
//
// Functions that return an Answer never block and never raise. The others raise CommError with the words of NCCL or CUDA.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "parallel/comm/communicator.h"

namespace longspan::nccl {

using UniqueId = std::array<std::byte, 128>;  // what the ranks of a group find each other by

struct Answer {
  enum class State { kDone, kInProgress, kFailed };
  State state = State::kDone;
  std::string text;  // of a failure
  bool done() const { return state == State::kDone; }
  bool failed() const { return state == State::kFailed; }
};

// A point in a stream of the device (a CUDA event).
class Point {
 public:
  virtual ~Point() = default;
  virtual Answer reached() = 0;
};

// This rank's end of one NCCL communicator, with a stream of its own that everything below is added to.
class Link {
 public:
  virtual ~Link() = default;

  // Whether NCCL has done what it was last asked, or has met an error since, its own or a peer's.
  virtual Answer state() = 0;

  // Added to the link's stream. While one is kInProgress, only state() and abort() may be called, until state() is done.
  virtual Answer all_reduce(const Tensor& data, ReduceOp op) = 0;
  virtual Answer broadcast(const Tensor& data, int root) = 0;
  virtual Answer all_gather(const Tensor& input, const Tensor& output) = 0;
  virtual Answer send_recv(const SendRecv& message) = 0;  // a side of zero bytes is left out
  virtual Answer copy(void* into, const void* from, size_t num_bytes) = 0;  // between host and device

  // What the link is given from now on waits for what `compute` was given so far: the point that is returned.
  virtual std::unique_ptr<Point> follow(Stream& compute) = 0;
  virtual std::unique_ptr<Point> mark() = 0;  // after what the link was given so far
  virtual std::shared_ptr<const TimePoint> mark_time() { return nullptr; }  // DeviceQueue::mark_time, of the link's stream

  virtual Answer finalize() = 0;     // collective; done when state() is
  virtual void abort() noexcept = 0;  // ends what is under way on the device; nothing may be called afterwards
};

class Library {
 public:
  virtual ~Library() = default;
  virtual UniqueId new_id() = 0;
  // Begins to meet the other ranks on the device of the calling thread; they have met when state() is done.
  virtual std::unique_ptr<Link> connect(const UniqueId& id, int rank, int size, const std::string& name) = 0;
  virtual bool is_of_device(const Stream& stream) const = 0;
};

// The time, and a short rest between two looks at a link.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }
  virtual void rest();
};

}  // namespace longspan::nccl
