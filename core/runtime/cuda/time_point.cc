#include <cmath>

#include "core/base/error.h"
#include "core/runtime/cuda/calls.h"

namespace longspan::cuda {

namespace {

class TimedEvent final : public TimePoint {
 public:
  explicit TimedEvent(cudaStream_t stream) {
    expect_call(cudaEventCreate(&event_), "an event with a time");
    if (const cudaError_t error = cudaEventRecord(event_, stream); error != cudaSuccess) {
      (void)cudaEventDestroy(event_);
      expect_call(error, "an event with a time, or work before it");
    }
  }
  ~TimedEvent() override { (void)cudaEventDestroy(event_); }
  TimedEvent(const TimedEvent&) = delete;
  TimedEvent& operator=(const TimedEvent&) = delete;

  int64_t ns_since(const TimePoint& earlier) const override {
    const auto* other = dynamic_cast<const TimedEvent*>(&earlier);
    check(other != nullptr, "the time between points of two kinds of devices");
    float milliseconds = 0;
    expect_call(cudaEventElapsedTime(&milliseconds, other->event_, event_), "the time between two events");
    return std::llround(1e6 * static_cast<double>(milliseconds));
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

std::shared_ptr<const TimePoint> mark_time(cudaStream_t stream) { return std::make_shared<TimedEvent>(stream); }

}  // namespace longspan::cuda
