// What wgmma computes: where the elements of an operand are, and their products.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/support/simt/machine.h"
#include "tests/support/simt/warpgroup.h"

namespace longspan::simt {

constexpr unsigned kAllWarps = 15;

// The shared addresses of all 16-byte pieces of an operand of 16 by `rows` (along M or N) elements, in order of its rows where
// K is major, else of 8 rows at a time.
std::vector<uint32_t> chunks(uint64_t descriptor, MajorDim major, int rows);

// Computes products before number `end`, of warp w where warps finish each for itself, else those that all warps issued.
void multiply_up_to(Block& block, Warpgroup& group, uint64_t end, int w);

}  // namespace longspan::simt
