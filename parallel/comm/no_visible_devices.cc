#include "parallel/comm/device_choice.h"

namespace longspan {

VisibleDevices visible_devices() { return {}; }

}  // namespace longspan
