// Memory resources: where the bytes of tensors come from. They compose: backing, caching, statistics, limiting.
// All are safe to call from several threads. Every allocation names a stream, so that a device resource can order reuse.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/runtime/stream.h"

namespace longspan {

// What an allocation is for; statistics are kept apart for each.
enum class MemoryTag : uint8_t {
  kWeights,
  kGradients,
  kOptimizer,
  kStash,        // what forward passes make for their backward
  kActivations,  // what goes from layer to layer and is kept for nothing, gradients of it included
  kWorkspace,
  kCommunication
};
constexpr int kNumMemoryTags = 7;
std::string_view name(MemoryTag tag);
// Of what a layer's forward makes: it is kept where there is a stash.
inline MemoryTag kept_in(const void* stash) { return stash ? MemoryTag::kStash : MemoryTag::kActivations; }

class MemoryResource {
 public:
  virtual ~MemoryResource() = default;
  // At least `num_bytes` bytes aligned to 64, never null; raises Error(kResource) when there are none.
  void* allocate(size_t num_bytes, Stream& stream, MemoryTag tag) { return do_allocate(num_bytes, stream, tag); }
  void deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept {
    do_deallocate(pointer, num_bytes, stream, tag);
  }
  // For CountedBytes.
  virtual void count(size_t /*num_bytes*/, MemoryTag) noexcept {}
  virtual void uncount(size_t /*num_bytes*/, MemoryTag) noexcept {}

 private:
  virtual void* do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) = 0;
  virtual void do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept = 0;
};

// Bytes that a resource did not give, but whose sum should hold them: of a container that has its own allocator.
class CountedBytes {
 public:
  CountedBytes(std::shared_ptr<MemoryResource> memory, size_t num_bytes, MemoryTag tag)
      : memory_(std::move(memory)), num_bytes_(num_bytes), tag_(tag) {
    memory_->count(num_bytes_, tag_);
  }
  ~CountedBytes() { memory_->uncount(num_bytes_, tag_); }
  CountedBytes(const CountedBytes&) = delete;
  CountedBytes& operator=(const CountedBytes&) = delete;

 private:
  std::shared_ptr<MemoryResource> memory_;
  size_t num_bytes_;
  MemoryTag tag_;
};

// The host's own memory; large blocks ask for huge pages.
class HostResource final : public MemoryResource {
 private:
  void* do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) override;
  void do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept override;
};

// When a block that was freed may be given away again.
enum class Reuse {
  // To the stream it was freed on: at once, as that does its work in order. To another: once that work is done.
  kInStreamOrder,
  // Once the stream's work is done: for memory of the host that a device reads or writes.
  kWhenDone
};

// Keeps freed blocks for the next allocation of about that size, so that a step does not fault its pages in again, or
// wait for a device. Gives them all back when the upstream has no more, and tries once again. A limit belongs below it, a
// count above.
class CachingResource final : public MemoryResource {
 public:
  explicit CachingResource(std::shared_ptr<MemoryResource> upstream, Reuse reuse = Reuse::kInStreamOrder);
  ~CachingResource() override;
  size_t cached_bytes() const;

 private:
  struct Block {
    void* pointer = nullptr;
    uint64_t stream = 0;  // that it was freed on
    Event freed;
  };
  void* do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) override;
  void do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept override;

  void* take(size_t size, const Stream& stream);
  void release() noexcept;

  std::shared_ptr<MemoryResource> upstream_;
  Reuse reuse_;
  std::shared_ptr<Stream> stream_;  // for giving blocks back at the end
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<Block>> free_;  // by rounded size
  size_t cached_bytes_ = 0;
};

// Does all on one stream, whatever the caller's: for memory of the host that this stream's device reads and writes.
class OnStreamResource final : public MemoryResource {
 public:
  OnStreamResource(std::shared_ptr<MemoryResource> upstream, std::shared_ptr<Stream> stream)
      : upstream_(std::move(upstream)), stream_(std::move(stream)) {}
  void count(size_t num_bytes, MemoryTag tag) noexcept override { upstream_->count(num_bytes, tag); }
  void uncount(size_t num_bytes, MemoryTag tag) noexcept override { upstream_->uncount(num_bytes, tag); }

 private:
  void* do_allocate(size_t num_bytes, Stream&, MemoryTag tag) override {
    return upstream_->allocate(num_bytes, *stream_, tag);
  }
  void do_deallocate(void* pointer, size_t num_bytes, Stream&, MemoryTag tag) noexcept override {
    upstream_->deallocate(pointer, num_bytes, *stream_, tag);
  }

  std::shared_ptr<MemoryResource> upstream_;
  std::shared_ptr<Stream> stream_;
};

struct MemoryStatistics {
  size_t current_bytes = 0, peak_bytes = 0;
  std::array<size_t, kNumMemoryTags> current_by_tag{}, peak_by_tag{};  // each tag's peak is at a moment of its own
  std::array<size_t, kNumMemoryTags> by_tag_at_peak{};  // when peak_bytes was first reached: they add up to it
  uint64_t num_allocations = 0;
};

class StatisticsResource final : public MemoryResource {
 public:
  explicit StatisticsResource(std::shared_ptr<MemoryResource> upstream) : upstream_(std::move(upstream)) {}
  MemoryStatistics statistics() const;
  void reset_peaks();  // peaks start again from what is allocated now
  void count(size_t num_bytes, MemoryTag tag) noexcept override;
  void uncount(size_t num_bytes, MemoryTag tag) noexcept override;

 private:
  void* do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) override;
  void do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept override;

  std::shared_ptr<MemoryResource> upstream_;
  mutable std::mutex mutex_;
  MemoryStatistics statistics_;
};

// Raises Error(kResource), naming both numbers, where the sum of what is allocated would pass `limit_bytes`.
class LimitingResource final : public MemoryResource {
 public:
  LimitingResource(std::shared_ptr<MemoryResource> upstream, size_t limit_bytes)
      : upstream_(std::move(upstream)), limit_bytes_(limit_bytes) {}

 private:
  void* do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) override;
  void do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept override;

  std::shared_ptr<MemoryResource> upstream_;
  size_t limit_bytes_;
  std::mutex mutex_;
  size_t used_bytes_ = 0;
};

}  // namespace longspan
