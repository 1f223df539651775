// What the benchmarks share: how a case is timed, and what it is fed.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "core/runtime/context.h"
#include "launcher/peak.h"

namespace longspan {

inline double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// How long one call of a body takes. On a CPU the fastest of its samples counts, each a call, by the CPU time of the thread where
// there is one, which other work on the machine does not distort, and by the clock where there are several. On a device the
// median counts, of samples of as many calls as take some 10 ms: the clock is read when the device has done all of them, and
// waiting for that is nothing beside them. Calls that are not timed come first there.
class Stopwatch {
 public:
  // Keeps the context. kClock: on a CPU by the clock in any case, for comparing with several threads.
  enum class By { kFairest, kClock };
  Stopwatch(const Context& context, std::function<void()> body, By by = By::kFairest)
      : context_(context), body_(std::move(body)), by_(by) {}

  double sample();         // takes one: seconds of a call
  double seconds() const;  // after a sample
  // Samples for about so long, three at least.
  double seconds_within(double min_seconds);

 private:
  double time(int num_calls) const;  // of all of them

  const Context& context_;
  std::function<void()> body_;
  By by_;
  int num_calls_ = 0;  // of a sample; 0: none was taken
  std::vector<double> samples_;
};

// Normal numbers, float32 or bfloat16; `name` is the key of the draw.
Tensor random_tensor(const Context& context, const Shape& shape, DType dtype, const char* name);
// Tokens below `bound`, in no order.
Tensor spread_tokens(const Context& context, int64_t count, int64_t bound);

}  // namespace longspan
