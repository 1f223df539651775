#include "core/base/error.h"

#include <cstring>

namespace longspan::detail {

void check_failed(const char* file, int line, const std::string& message) {
  const char* slash = std::strrchr(file, '/');
  throw Error(ErrorKind::kInternal, fmt::format("{}:{}: {}", slash ? slash + 1 : file, line, message));
}

}  // namespace longspan::detail
