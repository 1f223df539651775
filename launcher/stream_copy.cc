#include "launcher/stream_copy.h"

#include <algorithm>
#include <cstring>

#include "core/base/cache_size.h"
#include "core/runtime/parallel.h"
#include "launcher/bench_tools.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace longspan {
namespace {

typedef uint64_t Vector __attribute__((vector_size(64)));

__attribute__((noinline)) void copy_cached(uint8_t* to, const uint8_t* from, int64_t num_bytes) {
  for (int64_t i = 0; i < num_bytes; i += 64) {
    Vector line;
    std::memcpy(&line, from + i, sizeof line);
    std::memcpy(to + i, &line, sizeof line);
    asm volatile("" ::: "memory");  // or the compiler would call memcpy, which has its own mind about the stores
  }
}

// 16 bytes at a time is what every x86-64 has; the processor joins them to lines.
__attribute__((noinline)) void copy_streaming(uint8_t* to, const uint8_t* from, int64_t num_bytes) {
#if defined(__SSE2__)
  for (int64_t i = 0; i < num_bytes; i += 64) {
    for (int64_t j = 0; j < 64; j += 16) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + i + j),
                       _mm_load_si128(reinterpret_cast<const __m128i*>(from + i + j)));
    }
  }
  _mm_sfence();
#else
  std::memcpy(to, from, static_cast<size_t>(num_bytes));
#endif
}

__attribute__((noinline)) void read_all(const uint8_t* from, int64_t num_bytes) {
  constexpr int kSums = 4;
  Vector sums[kSums] = {};
  for (int64_t i = 0; i < num_bytes; i += 64 * kSums) {
    for (int s = 0; s < kSums; ++s) {
      Vector line;
      std::memcpy(&line, from + i + 64 * s, sizeof line);
      sums[s] ^= line;
    }
  }
  asm volatile("" ::"m"(sums[0]), "m"(sums[1]), "m"(sums[2]), "m"(sums[3]));
}

}  // namespace

StreamCopy::StreamCopy(const Context& context) : context_(context) {
  constexpr int64_t kLeast = int64_t{32} << 20;
  const int64_t together = 4 * static_cast<int64_t>(last_level_cache_bytes());
  num_bytes_ = std::max(kLeast, together / context.num_threads() / 4096 * 4096);
  const Shape shape = {context.num_threads(), num_bytes_};
  from_ = context.empty(shape, DType::kUInt8, MemoryTag::kWorkspace);
  to_ = context.empty(shape, DType::kUInt8, MemoryTag::kWorkspace);
  parallel_for(context, context.num_threads(), 1, [&](int64_t begin, int64_t end) {  // each page near who uses it
    const auto size = static_cast<size_t>((end - begin) * num_bytes_);
    std::memset(static_cast<uint8_t*>(from_.raw()) + begin * num_bytes_, 1, size);
    std::memset(static_cast<uint8_t*>(to_.raw()) + begin * num_bytes_, 2, size);
  });
}

double StreamCopy::rate(Pass pass) const {
  const auto now = context_.num_threads() == 1 ? thread_cpu_seconds : clock_seconds;
  const double start = now();
  parallel_for(context_, context_.num_threads(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      uint8_t* to = static_cast<uint8_t*>(to_.raw()) + t * num_bytes_;
      const uint8_t* from = static_cast<const uint8_t*>(from_.raw()) + t * num_bytes_;
      if (pass == Pass::kCached) copy_cached(to, from, num_bytes_);
      if (pass == Pass::kStreaming) copy_streaming(to, from, num_bytes_);
      if (pass == Pass::kRead) read_all(from, num_bytes_);
    }
  });
  const double bytes = static_cast<double>(num_bytes_) * context_.num_threads() * (pass == Pass::kRead ? 1 : 2);
  return 1e-9 * bytes / (now() - start);
}

const CopyRates& StreamCopy::measure() {
  constexpr int kRepetitions = 12;
  rates_ = {};
  for (int i = 0; i < kRepetitions; ++i) {  // in turn, so that all see the machine in the same state
    rates_.cached = std::max(rates_.cached, rate(Pass::kCached));
    rates_.streaming = std::max(rates_.streaming, rate(Pass::kStreaming));
    rates_.read = std::max(rates_.read, rate(Pass::kRead));
  }
  return rates_;
}

double StreamCopy::once() const { return rate(rates_.cached > rates_.streaming ? Pass::kCached : Pass::kStreaming); }

}  // namespace longspan
