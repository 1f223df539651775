// Matrix instructions of a warp: ldmatrix, stmatrix, mma.sync. Fragments are laid out as in the PTX ISA, section 9.7.14.
#pragma once

#include <cstdint>

namespace longspan::simt {

enum class Transposed : uint8_t { kNo, kYes };

// `count` matrices of 8 x 8 halves; lanes 8 i to 8 i + 7 give the addresses of the rows of matrix i.
void load_matrices(uint32_t* fragments, int count, uint32_t address, Transposed transposed, int line);
void store_matrices(const uint32_t* fragments, int count, uint32_t address, Transposed transposed, int line);
// d [16, 8] += a [16, 16] b [16, 8], bfloat16 with sums in fp32.
void multiply_16x8x16(float* d, const uint32_t* a, const uint32_t* b, int line);

// The elements of one lane's share of a 16 x 16 operand.
void unpack_a(float (*a)[16], int lane, const uint32_t* fragment);
inline int row_of_sum(int lane, int i) { return lane / 4 + 8 * ((i >> 1) & 1); }
inline int column_of_sum(int lane, int i) { return 8 * (i >> 2) + 2 * (lane & 3) + (i & 1); }

}  // namespace longspan::simt
