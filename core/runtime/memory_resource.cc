#include "core/runtime/memory_resource.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/error.h"
#include "core/runtime/stream.h"

namespace longspan {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Steps of an eighth of a power of two: little is wasted, and sizes that differ by a token share a block.
size_t cache_class(size_t num_bytes) {
  size_t step = kAlignment;
  while (step * 16 < num_bytes) step *= 2;
  return round_up(std::max<size_t>(num_bytes, 1), step);
}

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

CachingResource::CachingResource(std::shared_ptr<MemoryResource> upstream)
    : upstream_(std::move(upstream)), stream_(Stream::make_inline()) {}

CachingResource::~CachingResource() { release(); }

size_t CachingResource::cached_bytes() const {
  std::lock_guard lock(mutex_);
  return cached_bytes_;
}

void* CachingResource::do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) {
  const size_t size = cache_class(num_bytes);
  {
    std::lock_guard lock(mutex_);
    if (auto it = free_.find(size); it != free_.end() && !it->second.empty()) {
      void* block = it->second.back();
      it->second.pop_back();
      cached_bytes_ -= size;
      return block;
    }
  }
  try {
    return upstream_->allocate(size, stream, tag);
  } catch (const Error&) {
    if (cached_bytes() == 0) throw;
    release();
    return upstream_->allocate(size, stream, tag);
  }
}

void CachingResource::release() {
  std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : free_) {
    for (void* block : blocks) upstream_->deallocate(block, size, *stream_, MemoryTag::kWorkspace);
  }
  free_.clear();
  cached_bytes_ = 0;
}

void CachingResource::do_deallocate(void* pointer, size_t num_bytes, Stream&, MemoryTag) noexcept {
  const size_t size = cache_class(num_bytes);
  std::lock_guard lock(mutex_);
  free_[size].push_back(pointer);
  cached_bytes_ += size;
}

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
