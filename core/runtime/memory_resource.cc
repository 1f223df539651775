#include "core/runtime/memory_resource.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/error.h"

namespace longspan {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

std::string_view name(MemoryTag tag) {
  constexpr std::string_view kNames[kNumMemoryTags] = {"weights",     "gradients", "optimizer",    "stash",
                                                       "activations", "workspace", "communication"};
  return kNames[static_cast<int>(tag)];
}

void* HostResource::do_allocate(size_t num_bytes, Stream&, MemoryTag tag) {
  const size_t alignment = num_bytes >= kHugePage ? kHugePage : kAlignment;
  void* pointer = std::aligned_alloc(alignment, round_up(std::max<size_t>(num_bytes, 1), alignment));
  if (!pointer) {
    raise(ErrorKind::kResource, "the host has no {} bytes left for {}; use fewer tokens per rank or more ranks",
          num_bytes, name(tag));
  }
  // Advice only: without transparent huge pages the memory is as good.
  if (alignment == kHugePage) (void)madvise(pointer, round_up(num_bytes, alignment), MADV_HUGEPAGE);
  return pointer;
}

void HostResource::do_deallocate(void* pointer, size_t, Stream&, MemoryTag) noexcept { std::free(pointer); }

MemoryStatistics StatisticsResource::statistics() const {
  std::lock_guard lock(mutex_);
  return statistics_;
}

void StatisticsResource::reset_peaks() {
  std::lock_guard lock(mutex_);
  statistics_.peak_bytes = statistics_.current_bytes;
  statistics_.peak_by_tag = statistics_.by_tag_at_peak = statistics_.current_by_tag;
}

void* StatisticsResource::do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) {
  void* pointer = upstream_->allocate(num_bytes, stream, tag);
  count(num_bytes, tag);
  std::lock_guard lock(mutex_);
  ++statistics_.num_allocations;
  return pointer;
}

void StatisticsResource::count(size_t num_bytes, MemoryTag tag) noexcept {
  std::lock_guard lock(mutex_);
  const auto t = static_cast<size_t>(tag);
  statistics_.current_bytes += num_bytes;
  statistics_.current_by_tag[t] += num_bytes;
  statistics_.peak_by_tag[t] = std::max(statistics_.peak_by_tag[t], statistics_.current_by_tag[t]);
  if (statistics_.current_bytes <= statistics_.peak_bytes) return;
  statistics_.peak_bytes = statistics_.current_bytes;
  statistics_.by_tag_at_peak = statistics_.current_by_tag;
}

void StatisticsResource::uncount(size_t num_bytes, MemoryTag tag) noexcept {
  std::lock_guard lock(mutex_);
  statistics_.current_bytes -= num_bytes;
  statistics_.current_by_tag[static_cast<size_t>(tag)] -= num_bytes;
}

void StatisticsResource::do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept {
  upstream_->deallocate(pointer, num_bytes, stream, tag);
  uncount(num_bytes, tag);
}

void* LimitingResource::do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) {
  {
    std::lock_guard lock(mutex_);
    if (used_bytes_ + num_bytes > limit_bytes_) {
      raise(ErrorKind::kResource, "{} bytes for {} pass the limit: {} of {} bytes are in use", num_bytes, name(tag),
            used_bytes_, limit_bytes_);
    }
    used_bytes_ += num_bytes;
  }
  try {
    return upstream_->allocate(num_bytes, stream, tag);
  } catch (...) {
    std::lock_guard lock(mutex_);
    used_bytes_ -= num_bytes;
    throw;
  }
}

void LimitingResource::do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept {
  upstream_->deallocate(pointer, num_bytes, stream, tag);
  std::lock_guard lock(mutex_);
  used_bytes_ -= num_bytes;
}

}  // namespace longspan
