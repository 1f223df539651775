// Matrix instructions of a warp (sm_80). A fragment is a lane's share of a tile: for the sums of mma, register i of lane l is
// row l / 4 + 8 * (i / 2 % 2), column 2 * (l % 4) + i % 2; for A, register i holds columns 2 * (l % 4) + 8 * (i / 2) and
// the next of row l / 4 + 8 * (i % 2): two tiles of sums, side by side, are an A fragment without any shuffle.
#pragma once

#include "core/kernels/cuda/ptx/device.h"

namespace longspan::LS_CUDA {

// Four 8 x 8 matrices of halves; lanes 8 i to 8 i + 7 give the shared addresses of the rows of matrix i.
LS_DEVICE void load_matrices(uint32_t (&fragment)[4], uint32_t address, LS_LINE) {
  LS_PTX(asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                      : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                      : "r"(address)
                      : "memory");)
  LS_EMULATED(simt::load_matrices(fragment, 4, address, simt::Transposed::kNo, line);)
}
LS_DEVICE void load_matrices_transposed(uint32_t (&fragment)[4], uint32_t address, LS_LINE) {
  LS_PTX(asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                      : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                      : "r"(address)
                      : "memory");)
  LS_EMULATED(simt::load_matrices(fragment, 4, address, simt::Transposed::kYes, line);)
}
// The inverse (sm_90).
LS_DEVICE void store_matrices(uint32_t address, const uint32_t (&fragment)[4], LS_LINE) {
  LS_PTX(asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%4], {%0,%1,%2,%3};" ::"r"(fragment[0]),
                      "r"(fragment[1]), "r"(fragment[2]), "r"(fragment[3]), "r"(address)
                      : "memory");)
  LS_EMULATED(simt::store_matrices(fragment, 4, address, simt::Transposed::kNo, line);)
}
LS_DEVICE void store_matrices_transposed(uint32_t address, const uint32_t (&fragment)[4], LS_LINE) {
  LS_PTX(asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%4], {%0,%1,%2,%3};" ::"r"(fragment[0]),
                      "r"(fragment[1]), "r"(fragment[2]), "r"(fragment[3]), "r"(address)
                      : "memory");)
  LS_EMULATED(simt::store_matrices(fragment, 4, address, simt::Transposed::kYes, line);)
}

// d [16, 8] += a [16, 16] b [16, 8], bfloat16; sums in fp32.
LS_DEVICE void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, LS_LINE) {
  LS_PTX(asm volatile(
             "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
             : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));)
  LS_EMULATED(const uint32_t b[2] = {b0, b1}; simt::multiply_16x8x16(d, a, b, line);)
}

}  // namespace longspan::LS_CUDA
