#include <algorithm>

#include "core/base/error.h"
#include "core/runtime/memory_resource.h"

namespace longspan {

namespace {

constexpr std::chrono::minutes kLongestWait{30};

// Steps of an eighth of a power of two: little is wasted, and sizes that differ by a token share a block.
size_t cache_class(size_t num_bytes) {
  size_t step = 64;  // what a resource aligns to
  while (step * 16 < num_bytes) step *= 2;
  return (std::max<size_t>(num_bytes, 1) + step - 1) / step * step;
}

}  // namespace

CachingResource::CachingResource(std::shared_ptr<MemoryResource> upstream, Reuse reuse)
    : upstream_(std::move(upstream)), reuse_(reuse), stream_(Stream::make_inline()) {}

CachingResource::~CachingResource() { release(); }

size_t CachingResource::cached_bytes() const {
  std::lock_guard lock(mutex_);
  return cached_bytes_;
}

// The block of this size that was freed last and may be used by the stream; null if there is none.
void* CachingResource::take(size_t size, const Stream& stream) {
  std::lock_guard lock(mutex_);
  const auto it = free_.find(size);
  if (it == free_.end()) return nullptr;
  std::vector<Block>& blocks = it->second;
  const auto found = std::find_if(blocks.rbegin(), blocks.rend(), [&](const Block& block) {
    return (reuse_ == Reuse::kInStreamOrder && block.stream == stream.id()) || block.freed.done();
  });
  if (found == blocks.rend()) return nullptr;
  void* pointer = found->pointer;
  blocks.erase(std::prev(found.base()));
  cached_bytes_ -= size;
  return pointer;
}

void* CachingResource::do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) {
  const size_t size = cache_class(num_bytes);
  if (void* block = take(size, stream)) return block;
  try {
    return upstream_->allocate(size, stream, tag);
  } catch (const Error&) {
    if (cached_bytes() == 0) throw;
    release();
    return upstream_->allocate(size, stream, tag);
  }
}

void CachingResource::release() noexcept {
  std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : free_) {
    for (const Block& block : blocks) {
      try {
        block.freed.wait(kLongestWait);
      } catch (const Error&) {
        continue;  // the device failed: what it may still write to is kept
      }
      upstream_->deallocate(block.pointer, size, *stream_, MemoryTag::kWorkspace);
    }
  }
  free_.clear();
  cached_bytes_ = 0;
}

void CachingResource::do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag) noexcept {
  Block block{.pointer = pointer, .stream = stream.id(), .freed = {}};
  try {
    if (stream.on_device()) block.freed = stream.record();
  } catch (const Error&) {
    return;  // as in release
  }
  const size_t size = cache_class(num_bytes);
  std::lock_guard lock(mutex_);
  free_[size].push_back(std::move(block));
  cached_bytes_ += size;
}

}  // namespace longspan
