#include "core/runtime/stream.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "core/base/error.h"

namespace longspan {

namespace {
constexpr std::chrono::minutes kLongestWait{30};
}

struct Event::State {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
};

bool Event::done() const {
  if (!state_) return true;
  std::lock_guard lock(state_->mutex);
  return state_->done;
}

void Event::wait(std::chrono::milliseconds timeout) const {
  if (!state_) return;
  std::unique_lock lock(state_->mutex);
  if (!state_->changed.wait_for(lock, timeout, [&] { return state_->done; })) {
    raise(ErrorKind::kResource, "an event was not reached within {} ms", timeout.count());
  }
}

struct Stream::Worker {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> queue;
  bool busy = false, stopping = false;
  std::exception_ptr failure;
  std::thread thread;

  void loop() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stopping || !queue.empty(); });
      if (queue.empty()) return;
      auto work = std::move(queue.front());
      queue.pop_front();
      busy = true;
      lock.unlock();
      std::exception_ptr thrown;
      try {
        work();
      } catch (...) {
        thrown = std::current_exception();
      }
      work = nullptr;
      lock.lock();
      if (thrown && !failure) failure = thrown;
      busy = false;
      changed.notify_all();
    }
  }

  void rethrow() {
    if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
  }
};

Stream::Stream() = default;

std::shared_ptr<Stream> Stream::make_inline() { return std::shared_ptr<Stream>(new Stream()); }

std::shared_ptr<Stream> Stream::make_threaded() {
  std::shared_ptr<Stream> stream(new Stream());
  stream->worker_ = std::make_unique<Worker>();
  stream->worker_->thread = std::thread([w = stream->worker_.get()] { w->loop(); });
  return stream;
}

Stream::~Stream() {
  if (!worker_) return;
  {
    std::lock_guard lock(worker_->mutex);
    worker_->stopping = true;
  }
  worker_->changed.notify_all();
  worker_->thread.join();
}

void Stream::run(std::function<void()> work) {
  if (!worker_) {
    work();
    return;
  }
  std::lock_guard lock(worker_->mutex);
  worker_->rethrow();
  worker_->queue.push_back(std::move(work));
  worker_->changed.notify_all();
}

Event Stream::record() {
  Event event;
  if (!worker_) return event;
  event.state_ = std::make_shared<Event::State>();
  run([state = event.state_] {
    std::lock_guard lock(state->mutex);
    state->done = true;
    state->changed.notify_all();
  });
  return event;
}

void Stream::wait_for(const Event& event) {
  run([event] { event.wait(kLongestWait); });
}

void Stream::synchronize() {
  if (!worker_) return;
  std::unique_lock lock(worker_->mutex);
  const bool idle = worker_->changed.wait_for(lock, kLongestWait, [&] { return worker_->queue.empty() && !worker_->busy; });
  if (!idle) raise(ErrorKind::kResource, "a stream did not finish within {} minutes", kLongestWait.count());
  worker_->rethrow();
}

}  // namespace longspan
