// Context: what one rank computes with: device, compute stream, threads, memory, kernels. The first argument of every
// layer and kernel; never global. A context belongs to one thread (the rank's); its kernels may use more of their own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/runtime/device.h"
#include "core/runtime/kernel_set.h"
#include "core/runtime/memory_resource.h"
#include "core/runtime/stream.h"
#include "core/runtime/trace.h"
#include "core/tensor/tensor.h"

namespace longspan {

class Context {
 public:
  struct Options {
    Device device;
    DType compute_dtype = DType::kFloat32;  // of activations and of the weights in products
    int num_threads = 1;
    std::shared_ptr<MemoryResource> memory;      // default: HostResource
    std::shared_ptr<const KernelSet> kernels;    // needed before the first kernel
    std::shared_ptr<Tracer> tracer = nullptr;    // null: nothing is measured
    // Of a device that is not the CPU, which needs both: its compute stream, and memory of the host that it copies from
    // and to.
    std::shared_ptr<Stream> stream = nullptr;
    std::shared_ptr<MemoryResource> host_memory = nullptr;
  };
  explicit Context(Options options);

  Device device() const { return options_.device; }
  DType compute_dtype() const { return options_.compute_dtype; }
  DType accumulator_dtype() const { return accumulator(options_.compute_dtype); }
  int num_threads() const { return options_.num_threads; }
  Stream& stream() const { return *stream_; }
  const std::shared_ptr<MemoryResource>& memory() const { return options_.memory; }
  Tracer* tracer() const { return options_.tracer.get(); }  // may be null

  template <class Family>
  const Family& kernels() const {
    check(options_.kernels != nullptr, "this context has no kernels");
    return options_.kernels->get<Family>();
  }

  Tensor empty(const Shape& shape, DType dtype, MemoryTag tag = MemoryTag::kActivations) const;  // not initialised
  Tensor zeros(const Shape& shape, DType dtype, MemoryTag tag = MemoryTag::kActivations) const;
  // To zeros, on this context's threads; raises unless the tensor is contiguous.
  void clear(const Tensor& contiguous) const;

  // The host's side: a context without kernels whose tensors the program itself reads and writes, and sends as control
  // messages. On a CPU it is this context.
  const Context& host() const { return host_ ? *host_ : *this; }
  // In the stream's order; either may be the host's, as DeviceQueue::copy says. Contiguous, of one shape and dtype.
  void copy(const Tensor& from, const Tensor& to) const;
  // The same for tensors of this device whose rows (all but the first dim) are each without gaps, but may lie anywhere.
  void copy_rows(const Tensor& from, const Tensor& to) const;
  // A contiguous tensor's elements for the host to read: on a CPU the tensor itself, else a copy; returns when it is there.
  Tensor to_host(const Tensor& tensor) const;
  // What the host wrote, and writes no more, for kernels to read: on a CPU the tensor itself, else a copy.
  Tensor to_device(const Tensor& of_host, MemoryTag tag = MemoryTag::kActivations) const;
  // write(t) with a tensor of the host that becomes this contiguous one, which the host has not written before: on a CPU the
  // tensor itself.
  void write_from_host(const Tensor& tensor, const std::function<void(const Tensor& t)>& write) const;

  // An empty vector of the host's memory, for large tables.
  template <class T>
  HostVector<T> host_vector(MemoryTag tag = MemoryTag::kActivations) const {
    return HostVector<T>(ResourceAllocator<T>(host().memory(), tag));
  }

  // Long kernels call `progress()` between tiles, on the rank's own thread: MPI moves bytes only inside its calls.
  // Hooks nest: an outer one is called after those inside; the guard removes its hook. A hook makes and ends no guards.
  class ProgressGuard {
   public:
    ProgressGuard(Context& context, std::function<void()> hook);
    ~ProgressGuard();
    ProgressGuard(const ProgressGuard&) = delete;
    ProgressGuard& operator=(const ProgressGuard&) = delete;

   private:
    friend class Context;
    Context& context_;
    std::function<void()> hook_;
  };
  // Calls the hooks of all guards that live, the youngest first.
  void progress() const;
  // Whether progress() does anything: one long call of a library is then better cut into some.
  bool wants_progress() const { return !guards_.empty() && !muted_; }
  void mute_progress() { muted_ = true; }  // for benchmarks that show what the hook is worth

 private:
  Options options_;
  std::shared_ptr<Stream> stream_;
  std::shared_ptr<const Context> host_;  // null on a CPU
  std::vector<ProgressGuard*> guards_;
  mutable int hooks_running_ = 0;  // a hook may compute, which calls hooks
  bool muted_ = false;
};

}  // namespace longspan
