#include "core/runtime/kernel_set.h"

#include <algorithm>

namespace longspan {

void expect_supported(DType dtype, std::initializer_list<DType> supported, const char* backend, const char* family) {
  if (std::find(supported.begin(), supported.end(), dtype) != supported.end()) return;
  std::string have;
  for (const DType s : supported) have += (have.empty() ? "" : ", ") + std::string(name(s));
  raise(ErrorKind::kConfiguration, "backend {} has no {} kernels for {}; it has them for {}", backend, family, name(dtype),
        have);
}

}  // namespace longspan
