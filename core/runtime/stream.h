// Stream: work on one device that happens in the order it was given. Event: a point in a stream.
//
// A CPU compute stream is inline: `run` returns when the work is done, on the calling thread. A threaded stream has a
// thread of its own, for copies and files; an exception of its work is rethrown by `wait`, `synchronize` or the next
// `run`. A device's stream takes copies and kernels, which are done later. Overlap is two streams and an event, nothing else.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "core/runtime/device_queue.h"

namespace longspan {

class Tracer;

class Event {
 public:
  Event() = default;  // already done
  bool done() const { return !state_ || state_->done(); }
  // Blocks until the point is reached; raises Error(kResource) after `timeout`.
  void wait(std::chrono::milliseconds timeout) const;

 private:
  friend class Stream;
  std::shared_ptr<const EventState> state_;
};

class Stream {
 public:
  static std::shared_ptr<Stream> make_inline();
  static std::shared_ptr<Stream> make_threaded();
  static std::shared_ptr<Stream> make_on_device(std::unique_ptr<DeviceQueue> queue);
  ~Stream();  // finishes what was given to it
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void run(std::function<void()> work);  // of the host; raises on a device's stream
  // As DeviceQueue says; where both are memory of the host, any stream copies.
  void copy(void* to, const void* from, size_t num_bytes);
  void copy_rows(const RowCopy& rows);
  void clear(void* to, size_t num_bytes);
  Event record();
  void wait_for(const Event& event);  // later work of this stream starts after `event`
  void synchronize();                 // blocks until all work is done
  // When the device gets to this point; null where that is not known, as on streams of the host.
  std::shared_ptr<const TimePoint> mark_time() { return queue_ ? queue_->mark_time() : nullptr; }

  bool on_device() const { return queue_ != nullptr; }
  uint64_t id() const { return id_; }  // of no other stream of this process, ever
  // CUDA's own stream (cudaStream_t); null for streams of the host.
  CUstream_st* native() const { return queue_ ? queue_->native() : nullptr; }

  // What measures those who give this stream work; none at first. Communicators find it here.
  void trace_with(std::shared_ptr<Tracer> tracer) { tracer_ = std::move(tracer); }
  const std::shared_ptr<Tracer>& tracer() const { return tracer_; }

 private:
  Stream();
  struct Worker;
  std::unique_ptr<Worker> worker_;  // of a threaded one
  std::unique_ptr<DeviceQueue> queue_;  // of a device's
  uint64_t id_;
  std::shared_ptr<Tracer> tracer_;
};

}  // namespace longspan
