#include "tests/support/emulated_device.h"

#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <stdexcept>

#include "attention/kernels/cuda/block_attention.h"
#include "core/kernels/backends.h"
#include "core/kernels/cuda/backend.h"
#include "core/kernels/linear_algebra.h"
#include "tests/support/simt/global_memory.h"

namespace longspan::test {

namespace {

// All pinned memory of the process: first byte and size.
struct Pinned {
  std::mutex mutex;
  std::map<const std::byte*, size_t> blocks;
};
Pinned& pinned() {
  static Pinned all;
  return all;
}

bool is_pinned(const void* address) {
  const auto* byte = static_cast<const std::byte*>(address);
  const std::lock_guard lock(pinned().mutex);
  auto it = pinned().blocks.upper_bound(byte);
  if (it == pinned().blocks.begin()) return false;
  --it;
  return byte < it->first + it->second;
}

class PinnedResource final : public MemoryResource {
  void* do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) override {
    void* pointer = host_.allocate(num_bytes, stream, tag);
    const std::lock_guard lock(pinned().mutex);
    pinned().blocks[static_cast<const std::byte*>(pointer)] = num_bytes;
    return pointer;
  }
  void do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept override {
    {
      const std::lock_guard lock(pinned().mutex);
      pinned().blocks.erase(static_cast<const std::byte*>(pointer));
    }
    host_.deallocate(pointer, num_bytes, stream, tag);
  }
  HostResource host_;
};

// What a queue has yet to do on the host, by number.
struct Pending {
  uint64_t number;
  void* to;          // null: `from` was read
  const void* from;
  std::vector<std::byte> bytes;
};

struct QueueState {
  uint64_t given = 0, done = 0;
  std::deque<Pending> pending;

  void finish(uint64_t number) {
    done = std::max(done, number);
    while (!pending.empty() && pending.front().number <= number) {
      const Pending one = std::move(pending.front());
      pending.pop_front();
      if (one.to) {
        std::memcpy(one.to, one.bytes.data(), one.bytes.size());
      } else if (is_pinned(one.from) && std::memcmp(one.from, one.bytes.data(), one.bytes.size()) != 0) {
        throw std::logic_error("the host changed pinned memory while a copy from it was under way");
      }
    }
  }
};

class EmulatedEvent final : public EventState {
 public:
  explicit EmulatedEvent(std::shared_ptr<QueueState> queue) : queue_(std::move(queue)), number_(queue_->given) {}
  bool done() const override {
    if (asked_) queue_->finish(number_);
    asked_ = true;
    return queue_->done >= number_;
  }
  bool wait(std::chrono::milliseconds) const override {
    queue_->finish(number_);
    return true;
  }

 private:
  std::shared_ptr<QueueState> queue_;
  uint64_t number_;
  mutable bool asked_ = false;
};

// What a queue of the emulator is given and is not late is done at once.
class MomentOfHost final : public TimePoint {
 public:
  int64_t ns_since(const TimePoint& earlier) const override {
    const auto passed = at_ - dynamic_cast<const MomentOfHost&>(earlier).at_;
    return std::chrono::duration_cast<std::chrono::nanoseconds>(passed).count();
  }

 private:
  std::chrono::steady_clock::time_point at_ = std::chrono::steady_clock::now();
};

class EmulatedQueue final : public DeviceQueue {
 public:
  ~EmulatedQueue() override { state_->finish(state_->given); }

 private:
  void copy(void* to, const void* from, size_t num_bytes) override {
    constexpr int kNotYet = 0xa5;
    const simt::OpenToHost open({to, from});
    ++state_->given;
    const auto* bytes = static_cast<const std::byte*>(from);
    if (!simt::is_global(to)) {
      state_->pending.push_back({state_->given, to, from, {bytes, bytes + num_bytes}});
      std::memset(to, kNotYet, num_bytes);
      return;
    }
    std::memcpy(to, from, num_bytes);
    if (is_pinned(from)) state_->pending.push_back({state_->given, nullptr, from, {bytes, bytes + num_bytes}});
  }
  void copy_rows(const RowCopy& rows) override {
    if (!simt::is_global(rows.to) || !simt::is_global(rows.from)) throw std::logic_error("rows of the host's memory");
    const simt::OpenToHost open({rows.to, rows.from});
    ++state_->given;
    for (size_t i = 0; i < rows.num_rows; ++i) {
      std::memcpy(static_cast<std::byte*>(rows.to) + i * rows.to_pitch,
                  static_cast<const std::byte*>(rows.from) + i * rows.from_pitch, rows.row_bytes);
    }
  }
  void clear(void* to, size_t num_bytes) override {
    const simt::OpenToHost open({to});
    ++state_->given;
    std::memset(to, 0, num_bytes);
  }
  std::shared_ptr<const EventState> record() override { return std::make_shared<EmulatedEvent>(state_); }
  bool wait_for(const EventState& event) override { return dynamic_cast<const EmulatedEvent*>(&event) != nullptr; }
  void synchronize() override { state_->finish(state_->given); }
  std::shared_ptr<const TimePoint> mark_time() override { return std::make_shared<MomentOfHost>(); }
  CUstream_st* native() const override { return nullptr; }

  std::shared_ptr<QueueState> state_ = std::make_shared<QueueState>();
};

class HostProducts final : public LinearAlgebra {
 public:
  HostProducts() {
    auto kernels = std::make_shared<KernelSet>("products of the emulated device");
    add_cpu_kernels(*kernels);
    Context::Options options;
    options.kernels = kernels;
    host_ = std::make_unique<Context>(options);
  }

 private:
  void do_gemm(const Context&, const GemmOptions& options, const Tensor& a, const Tensor& b, const Tensor& c) const override {
    const simt::OpenToHost open({a.raw(), b.raw(), c.raw()});
    host_->kernels<LinearAlgebra>().gemm(*host_, options, a, b, c);
  }

  std::unique_ptr<Context> host_;
};

}  // namespace

std::shared_ptr<Stream> make_emulated_stream() { return Stream::make_on_device(std::make_unique<EmulatedQueue>()); }

std::shared_ptr<MemoryResource> make_emulated_pinned_memory() { return std::make_shared<PinnedResource>(); }

Context::Options emulated_device_options(DType dtype) {
  auto kernels = std::make_shared<KernelSet>("cuda in the emulator");
  LS_CUDA::add_kernels(*kernels);
  LS_CUDA::add_attention(*kernels);
  kernels->add<LinearAlgebra>(std::make_shared<HostProducts>());
  Context::Options options;
  options.device = {.type = DeviceType::kCuda, .ordinal = 0};
  options.compute_dtype = dtype;
  options.kernels = kernels;
  options.memory = std::make_shared<CachingResource>(std::make_shared<simt::GlobalMemory>(simt::HostAccess::kRefused));
  options.host_memory = std::make_shared<CachingResource>(make_emulated_pinned_memory(), Reuse::kWhenDone);
  options.stream = make_emulated_stream();
  return options;
}

Context emulated_device_context(DType dtype) { return Context(emulated_device_options(dtype)); }

}  // namespace longspan::test
