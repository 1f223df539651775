#include "tests/support/simt/matrix.h"

#include <bit>
#include <cstring>

#include "tests/support/simt/scheduler.h"
#include "tests/support/simt/shared_memory.h"
#include "tests/support/simt/warp.h"

namespace longspan::simt {

namespace {

struct Matrices {
  uint32_t* fragments;
  int count;
  uint32_t address;
  Transposed transposed;
};

struct Product {
  float* d;
  const uint32_t *a, *b;
};

float low(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
float high(uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }

// Accesses of a warp's instruction are those of the lane that gave the address.
std::byte* row_of(Collective& collective, int matrix, int row, SharedUse use) {
  const int lane = matrix * 8 + row;
  Thread* last = current;
  current = last->warp->threads[lane];
  std::byte* bytes = shared_bytes(argument<Matrices>(collective, lane).address, 16, use);
  current = last;
  return bytes;
}

void load_all(Collective& collective) {
  const Matrices first = argument<Matrices>(collective, 0);
  for (int i = 0; i < first.count; ++i) {
    uint16_t m[8][8];
    for (int row = 0; row < 8; ++row) std::memcpy(m[row], row_of(collective, i, row, SharedUse::kRead), 16);
    for (int lane = 0; lane < kWarpSize; ++lane) {
      const int r = lane / 4, c = 2 * (lane % 4);
      const bool turned = first.transposed == Transposed::kYes;
      const uint32_t lower = turned ? m[c][r] : m[r][c], upper = turned ? m[c + 1][r] : m[r][c + 1];
      argument<Matrices>(collective, lane).fragments[i] = lower | upper << 16;
    }
  }
}

void store_all(Collective& collective) {
  const Matrices first = argument<Matrices>(collective, 0);
  for (int i = 0; i < first.count; ++i) {
    uint16_t m[8][8];
    for (int lane = 0; lane < kWarpSize; ++lane) {
      const int r = lane / 4, c = 2 * (lane % 4);
      const bool turned = first.transposed == Transposed::kYes;
      const uint32_t pair = argument<Matrices>(collective, lane).fragments[i];
      (turned ? m[c][r] : m[r][c]) = static_cast<uint16_t>(pair);
      (turned ? m[c + 1][r] : m[r][c + 1]) = static_cast<uint16_t>(pair >> 16);
    }
    for (int row = 0; row < 8; ++row) std::memcpy(row_of(collective, i, row, SharedUse::kWrite), m[row], 16);
  }
}

void multiply_all(Collective& collective) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kWarpSize; ++lane) {
    const Product& share = argument<Product>(collective, lane);
    unpack_a(a, lane, share.a);
    const int k = 2 * (lane % 4), n = lane / 4;
    for (int half = 0; half < 2; ++half) {
      b[k + 8 * half][n] = low(share.b[half]);
      b[k + 8 * half + 1][n] = high(share.b[half]);
    }
  }
  for (int lane = 0; lane < kWarpSize; ++lane) {
    for (int i = 0; i < 4; ++i) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += a[row_of_sum(lane, i)][k] * b[k][column_of_sum(lane, i)];
      argument<Product>(collective, lane).d[i] += sum;
    }
  }
}

}  // namespace

void unpack_a(float (*a)[16], int lane, const uint32_t* fragment) {
  const int r = lane / 4, k = 2 * (lane % 4);
  for (int i = 0; i < 4; ++i) {
    float* pair = &a[r + 8 * (i & 1)][k + 8 * (i >> 1)];
    pair[0] = low(fragment[i]);
    pair[1] = high(fragment[i]);
  }
}

void load_matrices(uint32_t* fragments, int count, uint32_t address, Transposed transposed, int line) {
  begin_instruction("ldmatrix", line);
  Matrices mine{fragments, count, address, transposed};
  together(kAllLanes, &mine, load_all);
}

void store_matrices(const uint32_t* fragments, int count, uint32_t address, Transposed transposed, int line) {
  begin_instruction("stmatrix", line);
  Matrices mine{const_cast<uint32_t*>(fragments), count, address, transposed};
  together(kAllLanes, &mine, store_all);
}

void multiply_16x8x16(float* d, const uint32_t* a, const uint32_t* b, int line) {
  begin_instruction("mma.sync", line);
  Product mine{d, a, b};
  together(kAllLanes, &mine, multiply_all);
}

}  // namespace longspan::simt
