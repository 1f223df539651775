// The size of the cache that all cores near this one share; what is larger goes to memory anyway.
#pragma once

#include <cstddef>

namespace longspan {

// By CPUID; 32 MiB where it does not say. At most 64 MiB, as a larger one is shared by more cores than a rank has.
size_t last_level_cache_bytes();

}  // namespace longspan
