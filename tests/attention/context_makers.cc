#include "tests/attention/context_makers.h"

namespace longspan::test {

namespace {

std::vector<ContextMaker> all_makers() {
  std::vector<ContextMaker> makers;
  for (const CpuLevel level : supported_cpu_levels()) {
    makers.push_back({std::string(name(level)),
                      [level](DType dtype, int num_threads) { return level_context(level, dtype, num_threads); }});
  }
  return makers;
}

}  // namespace

const std::vector<ContextMaker>& context_makers() {
  static const std::vector<ContextMaker> makers = all_makers();
  return makers;
}

Context level_context(CpuLevel level, DType dtype, int num_threads) {
  auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_attention(*kernels, level);
  return Context({.device = {}, .compute_dtype = dtype, .num_threads = num_threads, .memory = nullptr, .kernels = kernels});
}

}  // namespace longspan::test
