// Stream: work on one device that happens in the order it was given. Event: a point in a stream.
//
// A CPU compute stream is inline: `run` returns when the work is done, on the calling thread. A threaded stream has a
// thread of its own, for copies and files; an exception of its work is rethrown by `wait`, `synchronize` or the next
// `run`. Overlap is two streams and an event, nothing else.
#pragma once

#include <chrono>
#include <functional>
#include <memory>

struct CUstream_st;

namespace longspan {

class Tracer;

class Event {
 public:
  Event() = default;  // already done
  bool done() const;
  // Blocks until the point is reached; raises Error(kResource) after `timeout`.
  void wait(std::chrono::milliseconds timeout) const;

 private:
  friend class Stream;
  struct State;
  std::shared_ptr<State> state_;
};

class Stream {
 public:
  static std::shared_ptr<Stream> make_inline();
  static std::shared_ptr<Stream> make_threaded();
  ~Stream();  // finishes what was given to it
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void run(std::function<void()> work);
  Event record();
  void wait_for(const Event& event);  // later work of this stream starts after `event`
  void synchronize();                 // blocks until all work is done
  // CUDA's own stream (cudaStream_t); null for streams of the host.
  CUstream_st* native() const { return nullptr; }

  // What measures those who give this stream work; none at first. Communicators find it here.
  void trace_with(std::shared_ptr<Tracer> tracer) { tracer_ = std::move(tracer); }
  const std::shared_ptr<Tracer>& tracer() const { return tracer_; }

 private:
  Stream();
  struct Worker;
  std::unique_ptr<Worker> worker_;  // absent: inline
  std::shared_ptr<Tracer> tracer_;
};

}  // namespace longspan
