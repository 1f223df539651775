// What gpu_benchmark is made of: operations over random operands in device memory, timed by events of the GPU.
#pragma once

#include <functional>

#include "core/runtime/context.h"

namespace longspan::test {

// A context whose tensors lie in device memory, where the host cannot read them.
Context device_context(DType dtype);
// Even numbers of [low, low + 1), and whole ones of [0, bound).
Tensor random_on_device(const Context& context, const Shape& shape, DType dtype, float low = -0.5f);
Tensor tokens_on_device(const Context& context, int64_t count, int64_t bound);
void fill_on_device(const Tensor& tensor, float value);

// Seconds of one on the context's stream, the mean of as many as take a fifth of a second, after two that are not timed.
double seconds_of(const Context& context, const std::function<void()>& body);

// Bytes a second that a copy within device memory reads and writes.
double copy_rate();

void bench_memory_bound(const Context& context, double copy_rate);
void bench_attention(const Context& context);

}  // namespace longspan::test
