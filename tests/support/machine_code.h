// What nvcc made of the kernels in an object file, for each GPU it was compiled for: read from the bytes themselves, since the
// toolkit's own reader (cuobjdump) is a package apart from nvcc. The instructions are those of sm_80 and sm_90, 128 bits each;
// this reading was compared with nvdisasm's over all kernels of the two attention and optimizer files.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace longspan::test {

// How often each of these stands in the code: HMMA, LDSM, LDGSTS (matrix products, ldmatrix, cp.async), LDL, STL (local memory:
// registers that were spilt), LDG, STG (global memory; those of 16 bytes once more as LDG.128, STG.128).
using Instructions = std::map<std::string, int>;
Instructions count_instructions(std::span<const uint8_t> code);

struct MachineKernel {
  std::string name;  // without namespaces and arguments: "forward_kernel<128, 1>"
  int architecture = 0;
  int registers = 0, stack_bytes = 0;
  int static_shared_bytes = 0;  // without what the GPU keeps for itself
  int most_threads = 0;         // of a block, as __launch_bounds__ says; 0: not said
  Instructions instructions;
};

// Raises std::runtime_error where the bytes are no object with machine code for a GPU.
std::vector<MachineKernel> read_machine_code(std::span<const uint8_t> object);

}  // namespace longspan::test
