#include "tests/support/simt/warpgroup_arithmetic.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/support/simt/copies.h"
#include "tests/support/simt/matrix.h"
#include "tests/support/simt/scheduler.h"

namespace longspan::simt {

namespace {

constexpr int kDepth = 16, kMostColumns = 256;

// The 16-byte piece that holds element (row, k): eight neighbours along the major dim.
uint32_t chunk(uint64_t descriptor, MajorDim major, uint32_t row, uint32_t k) {
  const auto field = [&](int bit) { return static_cast<uint32_t>(descriptor >> bit & 0x3fff) << 4; };
  const uint32_t start = field(0), leading = field(16), stride = field(32);
  const auto layout = static_cast<int>(descriptor >> 62);  // 0: none, 1: 128 bytes, 2: 64, 3: 32
  const int mode = layout == 0 ? 0 : 4 - layout;
  const uint32_t width = 1u << mode;  // pieces of an atom's row
  uint32_t offset = 0;
  if (major == MajorDim::kK) {
    offset = (row & 7) * width * 16 + (row >> 3) * stride + (k >> 3) * (mode ? 16 : leading);
  } else if (const uint32_t piece = row >> 3; mode) {
    offset = piece % width * 16 + piece / width * leading + (k & 7) * width * 16 + (k >> 3) * stride;
  } else {
    offset = piece * stride + (k & 7) * 16 + (k >> 3) * leading;
  }
  return swizzled((start + offset) & 0x3ffff, static_cast<SwizzleBytes>(mode));
}

// Elements of `count` rows from `first` on: to[row * row_stride + k * k_stride].
void gather(const Block& block, uint64_t descriptor, MajorDim major, uint32_t first, uint32_t count, float* to,
            uint32_t row_stride, uint32_t k_stride) {
  const bool k_major = major == MajorDim::kK;
  const uint32_t row_step = k_major ? 1 : 8, k_step = k_major ? 8 : 1;
  for (uint32_t row = 0; row < count; row += row_step) {
    for (uint32_t k = 0; k < kDepth; k += k_step) {
      uint16_t piece[8];
      std::memcpy(piece, block.shared + (chunk(descriptor, major, first + row, k) - kSharedBase), sizeof piece);
      for (uint32_t e = 0; e < 8; ++e) {
        const uint32_t r = row + (k_major ? 0 : e), c = k + (k_major ? e : 0);
        to[r * row_stride + c * k_stride] = std::bit_cast<float>(static_cast<uint32_t>(piece[e]) << 16);
      }
    }
  }
}

void multiply(Block& block, WarpgroupProduct& product, unsigned warps) {
  warps &= ~product.done;
  if (!warps) return;
  const WarpgroupOperands& operands = product.operands;
  const int n = operands.n;
  alignas(64) static thread_local float b[kDepth * kMostColumns];
  gather(block, operands.descriptor_b, operands.major_b, 0, static_cast<uint32_t>(n), b, 1, kMostColumns);
  for (int w = 0; w < kWarpsPerWarpgroup; ++w) {
    if (!(warps >> w & 1)) continue;
    float a[16][kDepth];
    if (operands.a) {
      for (int lane = 0; lane < kWarpSize; ++lane) unpack_a(a, lane, product.a[w * kWarpSize + lane]);
    } else {
      gather(block, operands.descriptor_a, operands.major_a, static_cast<uint32_t>(16 * w), 16, &a[0][0], kDepth, 1);
    }
    float* sums = product.accumulators[w]->values.data();
    for (int row = 0; row < 16; ++row, sums += n) {
      float fresh[kMostColumns] = {};
      for (int k = 0; k < kDepth; ++k)
        for (int j = 0; j < n; ++j) fresh[j] += a[row][k] * b[k * kMostColumns + j];
      for (int j = 0; j < n; ++j) sums[j] = (operands.accumulate ? sums[j] : 0.0f) + fresh[j];
    }
  }
  product.done |= warps;
}

}  // namespace

std::vector<uint32_t> chunks(uint64_t descriptor, MajorDim major, int rows) {
  const bool k_major = major == MajorDim::kK;
  std::vector<uint32_t> all;
  for (uint32_t row = 0; row < static_cast<uint32_t>(rows); row += k_major ? 1 : 8)
    for (uint32_t k = 0; k < kDepth; k += k_major ? 8 : 1) all.push_back(chunk(descriptor, major, row, k));
  return all;
}

void multiply_up_to(Block& block, Warpgroup& group, uint64_t end, int w) {
  for (uint64_t number = group.base; number < end && number - group.base < group.products.size(); ++number) {
    WarpgroupProduct& product = *group.products[number - group.base];
    if (options().strict_warpgroups) {
      if (!(product.issued >> w & 1)) return;
      multiply(block, product, 1u << w);
    } else {
      if (product.issued != kAllWarps) return;
      multiply(block, product, kAllWarps);
    }
  }
}

}  // namespace longspan::simt
