// HostVector: a std::vector whose bytes come from a memory resource, so that large tables are counted and limited like
// tensors. Without a resource it is an ordinary vector.
#pragma once

#include <memory>
#include <vector>

#include "core/runtime/memory_resource.h"
#include "core/runtime/stream.h"

namespace longspan {

template <class T>
class ResourceAllocator {
 public:
  using value_type = T;
  // The allocator goes where the elements go, so that moving and swapping never copy them.
  using propagate_on_container_copy_assignment = std::true_type;
  using propagate_on_container_move_assignment = std::true_type;
  using propagate_on_container_swap = std::true_type;

  ResourceAllocator() = default;
  ResourceAllocator(std::shared_ptr<MemoryResource> memory, MemoryTag tag)
      : memory_(std::move(memory)), stream_(Stream::make_inline()), tag_(tag) {}
  template <class U>
  ResourceAllocator(const ResourceAllocator<U>& other)  // implicit, as containers want it
      : memory_(other.memory_), stream_(other.stream_), tag_(other.tag_) {}

  T* allocate(size_t count) {
    if (!memory_) return std::allocator<T>().allocate(count);
    return static_cast<T*>(memory_->allocate(count * sizeof(T), *stream_, tag_));
  }
  void deallocate(T* pointer, size_t count) noexcept {
    if (!memory_) return std::allocator<T>().deallocate(pointer, count);
    memory_->deallocate(pointer, count * sizeof(T), *stream_, tag_);
  }
  template <class U>
  bool operator==(const ResourceAllocator<U>& other) const {
    return memory_ == other.memory_ && tag_ == other.tag_;
  }

 private:
  template <class U>
  friend class ResourceAllocator;
  std::shared_ptr<MemoryResource> memory_;
  std::shared_ptr<Stream> stream_;
  MemoryTag tag_ = MemoryTag::kWorkspace;
};

template <class T>
using HostVector = std::vector<T, ResourceAllocator<T>>;

}  // namespace longspan
