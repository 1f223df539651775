// LaunchShape: over what a kernel runs.
#pragma once

namespace longspan {

constexpr unsigned kSharedBytesUnasked = 48 * 1024;  // of a block: what any kernel may use; for more it has to ask
constexpr unsigned kMostSharedBytes = 99 * 1024;     // what every GPU from sm_80 on gives to one block that asks

struct LaunchShape {
  unsigned grid[3] = {1, 1, 1};  // blocks
  unsigned threads = 32;         // of a block, in one dim
  unsigned shared_bytes = 0;     // all of it dynamic
  unsigned cluster = 1;          // blocks that may reach each other's shared memory, along x
};

}  // namespace longspan
