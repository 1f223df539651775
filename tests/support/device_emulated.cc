#include "tests/support/device_under_test.h"
#include "tests/support/emulated_device.h"

namespace longspan::test {

Context::Options device_options(DType dtype, int ordinal) {
  check(ordinal == 0, "the emulator has no device {}", ordinal);
  return emulated_device_options(dtype);
}

}  // namespace longspan::test
