#include <thread>

#include "core/runtime/cuda.h"
#include "core/runtime/cuda/calls.h"

namespace longspan {

namespace cuda {

namespace {

class CudaEvent final : public EventState {
 public:
  CudaEvent() { expect_call(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "an event"); }
  ~CudaEvent() override { (void)cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  cudaEvent_t native() const { return event_; }

  bool done() const override {
    const cudaError_t state = cudaEventQuery(event_);
    if (state == cudaErrorNotReady) {
      (void)cudaGetLastError();  // an answer, and no failure that a later call should find
      return false;
    }
    expect_call(state, "work before an event");
    return true;
  }

  // CUDA's own wait has no timeout. A point that is near is met without sleeping.
  bool wait(std::chrono::milliseconds timeout) const override {
    constexpr std::chrono::microseconds kSpin{200}, kPause{50};
    const auto begin = std::chrono::steady_clock::now();
    while (!done()) {
      const auto waited = std::chrono::steady_clock::now() - begin;
      if (waited > timeout) return false;
      if (waited > kSpin) std::this_thread::sleep_for(kPause);
    }
    return true;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

class CudaQueue final : public DeviceQueue {
 public:
  CudaQueue(int ordinal, StreamPriority priority) {
    use_device(ordinal);
    int least = 0, greatest = 0;  // the greatest priority is the smallest number
    expect_call(cudaDeviceGetStreamPriorityRange(&least, &greatest), "priorities of streams");
    expect_call(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking,
                                             priority == StreamPriority::kHigh ? greatest : least),
                "a stream");
  }
  ~CudaQueue() override {
    (void)cudaStreamSynchronize(stream_);  // what it raises was raised, or concerns nobody any more
    (void)cudaStreamDestroy(stream_);
  }
  CudaQueue(const CudaQueue&) = delete;
  CudaQueue& operator=(const CudaQueue&) = delete;

  void copy(void* to, const void* from, size_t num_bytes) override {
    expect_call(cudaMemcpyAsync(to, from, num_bytes, cudaMemcpyDefault, stream_), "a copy, or work before it");
  }

  void copy_rows(const RowCopy& rows) override {
    expect_call(cudaMemcpy2DAsync(rows.to, rows.to_pitch, rows.from, rows.from_pitch, rows.row_bytes, rows.num_rows,
                                  cudaMemcpyDefault, stream_),
                "a copy of rows, or work before it");
  }

  void clear(void* to, size_t num_bytes) override {
    expect_call(cudaMemsetAsync(to, 0, num_bytes, stream_), "a clearing of memory, or work before it");
  }

  std::shared_ptr<const EventState> record() override {
    auto event = std::make_shared<CudaEvent>();
    expect_call(cudaEventRecord(event->native(), stream_), "an event, or work before it");
    return event;
  }

  bool wait_for(const EventState& event) override {
    const auto* other = dynamic_cast<const CudaEvent*>(&event);
    if (other) expect_call(cudaStreamWaitEvent(stream_, other->native(), 0), "a wait for an event, or work before it");
    return other != nullptr;
  }

  void synchronize() override { expect_call(cudaStreamSynchronize(stream_), "work of a stream"); }

  std::shared_ptr<const TimePoint> mark_time() override { return cuda::mark_time(stream_); }

  CUstream_st* native() const override { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace

}  // namespace cuda

std::shared_ptr<Stream> make_cuda_stream(int ordinal, StreamPriority priority) {
  return Stream::make_on_device(std::make_unique<cuda::CudaQueue>(ordinal, priority));
}

}  // namespace longspan
