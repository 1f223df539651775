#include "core/runtime/context.h"

#include <cstring>

#include "core/runtime/parallel.h"

namespace longspan {

Context::Context(Options options) : options_(std::move(options)), stream_(Stream::make_inline()) {
  check(options_.num_threads >= 1, "a context needs at least one thread, not {}", options_.num_threads);
  if (!options_.memory) options_.memory = std::make_shared<HostResource>();
  stream_->trace_with(options_.tracer);
}

Tensor Context::empty(const Shape& shape, DType dtype, MemoryTag tag) const {
  const Shape checked = Layout::contiguous(shape).shape();
  const size_t num_bytes = static_cast<size_t>(checked.num_elements()) * size_bytes(dtype);
  void* pointer = options_.memory->allocate(num_bytes, *stream_, tag);
  std::shared_ptr<void> storage(pointer, [memory = options_.memory, stream = stream_, num_bytes, tag](void* p) {
    memory->deallocate(p, num_bytes, *stream, tag);
  });
  return Tensor(std::move(storage), num_bytes, checked, dtype);
}

Tensor Context::zeros(const Shape& shape, DType dtype, MemoryTag tag) const {
  Tensor t = empty(shape, dtype, tag);
  clear(t);
  return t;
}

void Context::clear(const Tensor& contiguous) const {
  constexpr int64_t kBytesPerThread = 65536;  // worth waking one for
  check(contiguous.layout().is_contiguous(), "a tensor of shape {} is not contiguous", contiguous.shape().to_string());
  auto* bytes = static_cast<uint8_t*>(contiguous.raw());
  parallel_for(*this, static_cast<int64_t>(contiguous.num_bytes()), kBytesPerThread, [&](int64_t begin, int64_t end) {
    std::memset(bytes + begin, 0, static_cast<size_t>(end - begin));  // all-zero bits are 0 in every dtype
  });
}

Context::ProgressGuard::ProgressGuard(Context& context, std::function<void()> hook)
    : context_(context), outer_(std::move(context.progress_)) {
  context_.progress_ = std::move(hook);
}

Context::ProgressGuard::~ProgressGuard() { context_.progress_ = std::move(outer_); }

}  // namespace longspan
