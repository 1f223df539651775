#include "tests/support/device_under_test.h"
#include "tests/support/emulated_device.h"
#include "tests/support/simt/global_memory.h"

namespace longspan::test {

std::shared_ptr<MemoryResource> device_memory(int) { return std::make_shared<simt::GlobalMemory>(simt::HostAccess::kRefused); }

Context::Options device_options(DType dtype, int ordinal) {
  check(ordinal == 0, "the emulator has no device {}", ordinal);
  return emulated_device_options(dtype);
}

bool device_is_emulated() { return true; }

}  // namespace longspan::test
