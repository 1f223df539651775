#include "core/runtime/stream.h"

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "core/base/error.h"

namespace longspan {

namespace {
constexpr std::chrono::minutes kLongestWait{30};

// Of a threaded stream.
class HostEvent final : public EventState {
 public:
  bool done() const override {
    std::lock_guard lock(mutex_);
    return done_;
  }
  bool wait(std::chrono::milliseconds timeout) const override {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return done_; });
  }
  void reach() {
    std::lock_guard lock(mutex_);
    done_ = true;
    changed_.notify_all();
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool done_ = false;
};

}  // namespace

void Event::wait(std::chrono::milliseconds timeout) const {
  if (!state_ || state_->wait(timeout)) return;
  raise(ErrorKind::kResource, "an event was not reached within {} ms", timeout.count());
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

Stream::Stream() {
  static std::atomic<uint64_t> num_streams{0};
  id_ = ++num_streams;
}

std::shared_ptr<Stream> Stream::make_inline() { return std::shared_ptr<Stream>(new Stream()); }

std::shared_ptr<Stream> Stream::make_threaded() {
  std::shared_ptr<Stream> stream(new Stream());
  stream->worker_ = std::make_unique<Worker>();
  stream->worker_->thread = std::thread([w = stream->worker_.get()] { w->loop(); });
  return stream;
}

std::shared_ptr<Stream> Stream::make_on_device(std::unique_ptr<DeviceQueue> queue) {
  std::shared_ptr<Stream> stream(new Stream());
  stream->queue_ = std::move(queue);
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
  check(!queue_, "work of the host was given to a device's stream");
  if (!worker_) {
    work();
    return;
  }
  std::lock_guard lock(worker_->mutex);
  worker_->rethrow();
  worker_->queue.push_back(std::move(work));
  worker_->changed.notify_all();
}

void Stream::copy(void* to, const void* from, size_t num_bytes) {
  if (num_bytes == 0) return;
  if (queue_) return queue_->copy(to, from, num_bytes);
  run([=] { std::memcpy(to, from, num_bytes); });
}

void Stream::copy_rows(const RowCopy& rows) {
  if (rows.row_bytes == 0 || rows.num_rows == 0) return;
  if (queue_) return queue_->copy_rows(rows);
  run([rows] {
    for (size_t i = 0; i < rows.num_rows; ++i) {
      std::memcpy(static_cast<std::byte*>(rows.to) + i * rows.to_pitch,
                  static_cast<const std::byte*>(rows.from) + i * rows.from_pitch, rows.row_bytes);
    }
  });
}

void Stream::clear(void* to, size_t num_bytes) {
  if (num_bytes == 0) return;
  if (queue_) return queue_->clear(to, num_bytes);
  run([=] { std::memset(to, 0, num_bytes); });
}

Event Stream::record() {
  Event event;
  if (queue_) {
    event.state_ = queue_->record();
  } else if (worker_) {
    const auto state = std::make_shared<HostEvent>();
    event.state_ = state;
    run([state] { state->reach(); });
  }
  return event;
}

void Stream::wait_for(const Event& event) {
  if (!queue_) return run([event] { event.wait(kLongestWait); });
  if (event.state_ && !queue_->wait_for(*event.state_)) event.wait(kLongestWait);
}

void Stream::synchronize() {
  if (queue_) return queue_->synchronize();
  if (!worker_) return;
  std::unique_lock lock(worker_->mutex);
  const bool idle = worker_->changed.wait_for(lock, kLongestWait, [&] { return worker_->queue.empty() && !worker_->busy; });
  if (!idle) raise(ErrorKind::kResource, "a stream did not finish within {} minutes", kLongestWait.count());
  worker_->rethrow();
}

}  // namespace longspan
