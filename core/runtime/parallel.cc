#include "core/runtime/parallel.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>

namespace longspan {

namespace {

#ifndef _OPENMP  // as fuzz targets are built
int omp_get_thread_num() { return 0; }
int omp_get_num_threads() { return 1; }
#endif

// Runs body(thread) on `num_threads` threads. OpenMP because oneDNN brings its threads: one pool, not two. With one
// thread OpenMP is not entered at all (ThreadSanitizer cannot see into it).
void on_threads(int num_threads, const std::function<void(int thread)>& body) {
  if (num_threads == 1) {
    body(0);
    return;
  }
  std::exception_ptr failure;
  std::mutex mutex;
#pragma omp parallel num_threads(num_threads)
  {
    try {
      // OpenMP may give fewer threads than asked for (OMP_THREAD_LIMIT, OMP_DYNAMIC, nesting); all the work is done anyway.
      for (int t = omp_get_thread_num(); t < num_threads; t += omp_get_num_threads()) body(t);
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

void parallel_for(const Context& context, int64_t count, int64_t grain,
                  const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  const int64_t most = std::max<int64_t>(1, count / std::max<int64_t>(1, grain));
  const int num_pieces = static_cast<int>(std::min<int64_t>(context.num_threads(), most));
  on_threads(num_pieces, [&](int thread) {
    const int64_t begin = count * thread / num_pieces, end = count * (thread + 1) / num_pieces;
    if (begin < end) body(begin, end);
  });
}

void parallel_tasks(const Context& context, int64_t count, const std::function<void(int64_t, int)>& body) {
  if (count <= 0) return;
  std::atomic<int64_t> next{0};
  const int num_threads = static_cast<int>(std::min<int64_t>(context.num_threads(), count));
  on_threads(num_threads, [&](int thread) {
    while (true) {
      const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= count) return;
      body(task, thread);
      if (thread == 0) context.progress();
    }
  });
}

namespace {

// Tasks handed to threads; a thread that finds none ready waits for the others. After a failure there are no more tasks.
class TaskQueue {
 public:
  explicit TaskQueue(OrderedTasks tasks) : tasks_(std::move(tasks)) {}

  int64_t take() {
    std::unique_lock lock(mutex_);
    while (true) {
      if (failed_ || tasks_.all_taken()) return OrderedTasks::kNone;
      if (const int64_t task = tasks_.take(); task != OrderedTasks::kNone) {
        if (tasks_.all_taken()) changed_.notify_all();
        return task;
      }
      changed_.wait(lock);
    }
  }
  void finish(int64_t task) {
    const std::lock_guard lock(mutex_);
    tasks_.finish(task);
    changed_.notify_all();
  }
  void fail() {
    const std::lock_guard lock(mutex_);
    failed_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  OrderedTasks tasks_;
  bool failed_ = false;
};

}  // namespace

void parallel_tasks(const Context& context, OrderedTasks tasks, const std::function<void(int64_t, int)>& body) {
  if (tasks.size() == 0) return;
  const int num_threads = static_cast<int>(std::min<int64_t>(context.num_threads(), tasks.size()));
  TaskQueue queue(std::move(tasks));
  on_threads(num_threads, [&](int thread) {
    for (int64_t task = queue.take(); task != OrderedTasks::kNone; task = queue.take()) {
      try {
        body(task, thread);
      } catch (...) {
        queue.fail();
        throw;
      }
      queue.finish(task);
      if (thread == 0) context.progress();
    }
  });
}

}  // namespace longspan
