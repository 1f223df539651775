#include "core/runtime/context.h"

#include <algorithm>
#include <cstring>

#include "core/runtime/parallel.h"

namespace longspan {

Context::Context(Options options)
    : options_(std::move(options)), stream_(options_.stream ? options_.stream : Stream::make_inline()) {
  check(options_.num_threads >= 1, "a context needs at least one thread, not {}", options_.num_threads);
  const bool on_host = options_.device.type == DeviceType::kCpu;
  check(stream_->on_device() != on_host, "the context's stream is not of its device");
  check(on_host || (options_.memory && options_.host_memory), "a context of a device needs its memory and the host's");
  if (!options_.memory) options_.memory = std::make_shared<HostResource>();
  stream_->trace_with(options_.tracer);
  if (on_host) return;
  if (options_.tracer) options_.tracer->time_stream(stream_);
  Options host = {.device = {},
                  .compute_dtype = options_.compute_dtype,
                  .num_threads = options_.num_threads,
                  .memory = std::make_shared<OnStreamResource>(options_.host_memory, stream_),
                  .kernels = nullptr,
                  .tracer = options_.tracer};
  host_ = std::make_shared<const Context>(std::move(host));
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
  if (stream_->on_device()) return stream_->clear(contiguous.raw(), contiguous.num_bytes());
  auto* bytes = static_cast<uint8_t*>(contiguous.raw());
  parallel_for(*this, static_cast<int64_t>(contiguous.num_bytes()), kBytesPerThread, [&](int64_t begin, int64_t end) {
    std::memset(bytes + begin, 0, static_cast<size_t>(end - begin));  // all-zero bits are 0 in every dtype
  });
}

void Context::copy(const Tensor& from, const Tensor& to) const {
  expect_shape(to, from.shape(), "the copy");
  expect_dtype(to, from.dtype(), "the copy");
  check(from.layout().is_contiguous() && to.layout().is_contiguous(), "a tensor of shape {} is not contiguous",
        from.shape().to_string());
  stream_->copy(to.raw(), from.raw(), from.num_bytes());
}

void Context::copy_rows(const Tensor& from, const Tensor& to) const {
  constexpr int64_t kBytesPerThread = 65536;  // worth waking one for
  expect_shape(to, from.shape(), "the copy");
  expect_dtype(to, from.dtype(), "the copy");
  if (from.num_elements() == 0) return;
  if (from.layout().is_contiguous() && to.layout().is_contiguous()) return copy(from, to);
  check(from.select(0, 0).layout().is_contiguous() && to.select(0, 0).layout().is_contiguous(),
        "the rows of a tensor of shape {} have gaps", from.shape().to_string());
  const size_t element = size_bytes(from.dtype());
  const auto pitch = [&](const Tensor& t) { return static_cast<size_t>(t.layout().strides()[0]) * element; };
  const RowCopy all = {.to = to.raw(), .to_pitch = pitch(to), .from = from.raw(), .from_pitch = pitch(from),
                       .row_bytes = from.select(0, 0).num_bytes(), .num_rows = static_cast<size_t>(from.size(0))};
  if (stream_->on_device()) return stream_->copy_rows(all);
  const auto grain = std::max<int64_t>(1, kBytesPerThread / static_cast<int64_t>(all.row_bytes));
  parallel_for(*this, from.size(0), grain, [&](int64_t begin, int64_t end) {
    RowCopy part = all;
    part.to = static_cast<std::byte*>(all.to) + static_cast<size_t>(begin) * all.to_pitch;
    part.from = static_cast<const std::byte*>(all.from) + static_cast<size_t>(begin) * all.from_pitch;
    part.num_rows = static_cast<size_t>(end - begin);
    stream_->copy_rows(part);
  });
}

Tensor Context::to_host(const Tensor& tensor) const {
  if (!host_) return tensor;
  Tensor copied = host_->empty(tensor.shape(), tensor.dtype(), MemoryTag::kWorkspace);
  copy(tensor, copied);
  stream_->synchronize();
  return copied;
}

Tensor Context::to_device(const Tensor& of_host, MemoryTag tag) const {
  if (!host_) return of_host;
  Tensor copied = empty(of_host.shape(), of_host.dtype(), tag);
  copy(of_host, copied);
  return copied;
}

void Context::write_from_host(const Tensor& tensor, const std::function<void(const Tensor&)>& write) const {
  if (!host_) return write(tensor);
  const Tensor written = host_->empty(tensor.shape(), tensor.dtype(), MemoryTag::kWorkspace);
  write(written);
  copy(written, tensor);
}

Context::ProgressGuard::ProgressGuard(Context& context, std::function<void()> hook) : context_(context), hook_(std::move(hook)) {
  check(context_.hooks_running_ == 0, "a progress hook that makes a guard");
  context_.guards_.push_back(this);
}

// Guards may go in any order.
Context::ProgressGuard::~ProgressGuard() { std::erase(context_.guards_, this); }

void Context::progress() const {
  if (muted_) return;
  const struct Running {
    explicit Running(int& running) : depth(++running) {}
    ~Running() { --depth; }
    int& depth;
  } running(hooks_running_);
  for (size_t i = guards_.size(); i-- > 0;) guards_[i]->hook_();
}

}  // namespace longspan
