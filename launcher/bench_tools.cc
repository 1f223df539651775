#include "launcher/bench_tools.h"

#include <vector>

#include "core/base/random.h"

namespace longspan {

Tensor random_tensor(const Context& context, const Shape& shape, DType dtype, const char* name) {
  constexpr uint64_t kDistinct = 65521;  // prime, so that rows differ; drawing every element would take longer than the case
  const RandomStream random(1, name);
  std::vector<float> drawn;
  for (uint64_t i = 0; i < kDistinct; ++i) drawn.push_back(static_cast<float>(random.normal(i)));
  Tensor x = context.empty(shape, dtype);
  for (int64_t i = 0; i < x.num_elements(); ++i) {
    const float value = drawn[static_cast<uint64_t>(i) % kDistinct];
    if (dtype == DType::kFloat32) {
      x.data<float>()[i] = value;
    } else {
      x.data<bfloat16>()[i] = bfloat16(value);
    }
  }
  return x;
}

}  // namespace longspan
