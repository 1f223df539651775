// Asynchronous copies: cp.async by threads, boxes of tensors by the copy unit (TMA) in both directions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/support/simt/machine.h"

namespace longspan::simt {

// 16 bytes, of which `source_bytes` are read and the rest zeros.
void copy_async(uint32_t to, const void* from, uint32_t source_bytes, int line);
void commit_copies(int line);
void wait_copies(int groups_left, int line);

// How a box of shared memory is permuted: 16-byte pieces, by bits of the absolute shared address (CUTLASS, swizzle.hpp).
enum class SwizzleBytes : uint8_t { kNone, k32, k64, k128 };
uint32_t swizzled(uint32_t address, SwizzleBytes swizzle);

constexpr int kMaxTensorRank = 5;
constexpr uint32_t kTensorMapMark = 0x746d6170;
struct alignas(64) TensorMap {
  std::byte* base = nullptr;
  uint64_t dims[kMaxTensorRank] = {}, strides_bytes[kMaxTensorRank] = {};
  uint32_t box[kMaxTensorRank] = {};
  int rank = 0;
  uint32_t element_bytes = 0;
  SwizzleBytes swizzle = SwizzleBytes::kNone;
  uint32_t mark = 0;
};
// What cuTensorMapEncodeTiled does: false where it refuses. strides_bytes: of dims 1 and up.
bool encode_tensor_map(TensorMap& map, uint32_t element_bytes, int rank, void* base, const uint64_t* dims,
                       const uint64_t* strides_bytes, const uint32_t* box, SwizzleBytes swizzle);

// `coordinates` of the box's first element, innermost first; what lies outside of the tensor is zero, or not stored.
// `blocks`: to which blocks of the cluster a load goes, 0 for this one.
void load_box(uint32_t to, const TensorMap* map, uint32_t mbarrier, int rank, const int* coordinates, uint16_t blocks,
              int line);
void store_box(const TensorMap* map, uint32_t from, int rank, const int* coordinates, int line);
void commit_bulk(int line);
void wait_bulk(int groups_left, int line);

}  // namespace longspan::simt
