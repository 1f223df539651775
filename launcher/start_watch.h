// MPI waits for ever when hosts cannot reach each other, and its start cannot be called off. While one of these lives, it
// counts: if it lives longer than its limit, it says so and ends this process, and with it the run.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace longspan {

class StartWatch {
 public:
  explicit StartWatch(std::chrono::milliseconds limit)
      : limit_(limit), thread_([this](const std::stop_token& stop) { watch(stop); }) {}

 private:
  void watch(const std::stop_token& stop);

  std::chrono::milliseconds limit_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;
};

}  // namespace longspan
