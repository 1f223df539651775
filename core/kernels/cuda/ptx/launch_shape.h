// LaunchShape: over what a kernel runs.
#pragma once

namespace longspan {

struct LaunchShape {
  unsigned grid[3] = {1, 1, 1};  // blocks
  unsigned threads = 32;         // of a block, in one dim
  unsigned shared_bytes = 0;     // all of it dynamic
  unsigned cluster = 1;          // blocks that may reach each other's shared memory, along x
};

}  // namespace longspan
