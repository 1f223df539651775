#include "parallel/comm/nccl/cuda_library.h"

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstring>

#include "core/runtime/cuda/calls.h"

namespace longspan {

namespace {

using nccl::Answer;
using nccl::Point;

static_assert(sizeof(ncclUniqueId) == sizeof(nccl::UniqueId));

void check_cuda(cudaError_t code, const char* call) {
  if (code != cudaSuccess) throw CommError(fmt::format("{}: {}", call, cudaGetErrorString(code)));
}

Answer answer_of(ncclResult_t code, const char* call, ncclComm_t comm) {
  if (code == ncclSuccess) return {};
  if (code == ncclInProgress) return {.state = Answer::State::kInProgress, .text = {}};
  return {.state = Answer::State::kFailed,
          .text = fmt::format("{}: {} ({})", call, ncclGetErrorString(code), ncclGetLastError(comm))};
}

class CudaEvent final : public Point {
 public:
  explicit CudaEvent(cudaStream_t stream) {
    check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    if (const cudaError_t code = cudaEventRecord(event_, stream); code != cudaSuccess) {
      cudaEventDestroy(event_);
      check_cuda(code, "cudaEventRecord");
    }
  }
  ~CudaEvent() override { cudaEventDestroy(event_); }
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;

  Answer reached() override {
    const cudaError_t code = cudaEventQuery(event_);
    if (code == cudaSuccess) return {};
    (void)cudaGetLastError();  // the answer of this call alone
    if (code == cudaErrorNotReady) return {.state = Answer::State::kInProgress, .text = {}};
    return {.state = Answer::State::kFailed, .text = fmt::format("cudaEventQuery: {}", cudaGetErrorString(code))};
  }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

cudaStream_t new_stream() {
  int lowest = 0, highest = 0;
  cudaStream_t stream = nullptr;
  check_cuda(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "cudaDeviceGetStreamPriorityRange");
  check_cuda(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, highest), "cudaStreamCreateWithPriority");
  return stream;
}

ncclDataType_t nccl_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return ncclFloat64;
    case DType::kFloat32:
      return ncclFloat32;
    case DType::kInt64:
      return ncclInt64;
    default:
      raise(ErrorKind::kInternal, "NCCL reduces float64, float32 and int64 here, not {}", name(dtype));
  }
}

class CudaLink final : public nccl::Link {
 public:
  CudaLink(const nccl::UniqueId& id, int rank, int size, const std::string& name, int max_multiprocessors)
      : name_(name), stream_(new_stream()) {
    ncclUniqueId their_id;
    std::memcpy(&their_id, id.data(), id.size());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.commName = name_.c_str();
    if (max_multiprocessors > 0) {
      config.minCTAs = 1;
      config.maxCTAs = max_multiprocessors;
    }
    begun_ = answer_of(ncclCommInitRankConfig(&comm_, size, their_id, rank, &config), "ncclCommInitRankConfig", comm_);
  }

  ~CudaLink() override {
    if (comm_) ncclCommDestroy(comm_);  // finalized
    cudaStreamDestroy(stream_);
  }
  CudaLink(const CudaLink&) = delete;
  CudaLink& operator=(const CudaLink&) = delete;

  Answer state() override {
    if (begun_.failed() || !comm_) return begun_;
    ncclResult_t health = ncclSuccess;
    const Answer asked = answer_of(ncclCommGetAsyncError(comm_, &health), "ncclCommGetAsyncError", comm_);
    return asked.failed() ? asked : answer_of(health, "NCCL", comm_);
  }

  Answer all_reduce(const Tensor& data, ReduceOp op) override {
    return answer_of(ncclAllReduce(data.raw(), data.raw(), static_cast<size_t>(data.num_elements()), nccl_type(data.dtype()),
                                   op == ReduceOp::kSum ? ncclSum : ncclMax, comm_, stream_),
                     "ncclAllReduce", comm_);
  }

  Answer broadcast(const Tensor& data, int root) override {
    return answer_of(ncclBroadcast(data.raw(), data.raw(), data.num_bytes(), ncclUint8, root, comm_, stream_),
                     "ncclBroadcast", comm_);
  }

  Answer all_gather(const Tensor& input, const Tensor& output) override {
    return answer_of(ncclAllGather(input.raw(), output.raw(), input.num_bytes(), ncclUint8, comm_, stream_),
                     "ncclAllGather", comm_);
  }

  // In one group, so that neither direction waits for the other.
  Answer send_recv(const SendRecv& message) override {
    const size_t sent = message.send.num_bytes(), received = message.receive.num_bytes();
    Answer answer = answer_of(ncclGroupStart(), "ncclGroupStart", comm_);
    if (answer.failed()) return answer;
    if (sent > 0) {
      answer = answer_of(ncclSend(message.send.raw(), sent, ncclUint8, message.to, comm_, stream_), "ncclSend", comm_);
    }
    if (received > 0 && !answer.failed()) {
      answer =
          answer_of(ncclRecv(message.receive.raw(), received, ncclUint8, message.from, comm_, stream_), "ncclRecv", comm_);
    }
    const Answer ended = answer_of(ncclGroupEnd(), "ncclGroupEnd", comm_);  // always, or the next group is this one
    return answer.failed() ? answer : ended;
  }

  Answer copy(void* into, const void* from, size_t num_bytes) override {
    const cudaError_t code = cudaMemcpyAsync(into, from, num_bytes, cudaMemcpyDefault, stream_);
    if (code == cudaSuccess) return {};
    return {.state = Answer::State::kFailed, .text = fmt::format("cudaMemcpyAsync: {}", cudaGetErrorString(code))};
  }

  std::unique_ptr<Point> follow(Stream& compute) override {
    auto event = std::make_unique<CudaEvent>(compute.native());
    check_cuda(cudaStreamWaitEvent(stream_, event->get(), 0), "cudaStreamWaitEvent");
    return event;
  }

  std::unique_ptr<Point> mark() override { return std::make_unique<CudaEvent>(stream_); }

  std::shared_ptr<const TimePoint> mark_time() override { return cuda::mark_time(stream_); }

  Answer finalize() override { return answer_of(ncclCommFinalize(comm_), "ncclCommFinalize", comm_); }

  void abort() noexcept override {
    if (comm_) ncclCommAbort(comm_);
    comm_ = nullptr;
  }

 private:
  std::string name_;  // NCCL shows it in its log
  cudaStream_t stream_ = nullptr;
  ncclComm_t comm_ = nullptr;
  Answer begun_;
};

class CudaLibrary final : public nccl::Library {
 public:
  explicit CudaLibrary(const NcclOptions& options) : options_(options) {}

  nccl::UniqueId new_id() override {
    ncclUniqueId id;
    const Answer answer = answer_of(ncclGetUniqueId(&id), "ncclGetUniqueId", nullptr);
    if (answer.failed()) throw CommError(answer.text);
    nccl::UniqueId bytes{};
    std::memcpy(bytes.data(), &id, bytes.size());
    return bytes;
  }

  std::unique_ptr<nccl::Link> connect(const nccl::UniqueId& id, int rank, int size, const std::string& name) override {
    return std::make_unique<CudaLink>(id, rank, size, name, options_.max_multiprocessors);
  }

  bool is_of_device(const Stream& stream) const override { return stream.native() != nullptr; }

 private:
  NcclOptions options_;
};

}  // namespace

bool has_nccl() { return true; }

std::shared_ptr<nccl::Library> make_nccl_library(const NcclOptions& options) {
  check(options.max_multiprocessors >= 0, "NCCL cannot take {} multiprocessors", options.max_multiprocessors);
  return std::make_shared<CudaLibrary>(options);
}

}  // namespace longspan
