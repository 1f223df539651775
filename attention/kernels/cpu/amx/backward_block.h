// Backward of one block: up to 256 queries of one head x 128 keys (backward.h: order).
#pragma once

#include "attention/kernels/cpu/amx/gradient.h"

namespace longspan::LS_CPU_LEVEL {

// Some tiles of one head against one block of keys.
struct GradientBlock {
  int64_t head = 0, tile = 0, num_tiles = 0;  // of the window; num_tiles is even
  int64_t key = 0;                            // first of the block
};

// kDims: 64, 128, or 0 for any multiple of 128.
template <int kDims>
class BlockGradient {
 public:
  BlockGradient(const GradientWindow& window, float* scratch)
      : w_(window), padded_(padded_head_dim(window.head_dim)), slots_(scratch), nowhere_(scratch + 4 * kUnitFloats),
        pending_(nowhere_), p_(reinterpret_cast<bfloat16*>(scratch + 5 * kUnitFloats)), ds_(p_ + kBlock),
        ds_pairs_(ds_ + kBlock), exponential_(static_cast<float>(static_cast<double>(window.scale) * 1.44269504088896341)) {
    for (int64_t i = 0; i < 5 * kUnitFloats; ++i) scratch[i] = 0;
    zero_sums();
  }

  // P and dS of the block, into slot 0 or 1 of dS by pairs; then dV and dK.
  void add_to_keys(const GradientBlock& block, int64_t slot) {
    compute_p_and_ds(block, ds_pairs_ + slot * 2 * kTileHalves * 4 * block.num_tiles);
    const int64_t query = query_offset(block), key = key_offset(block);
    switch (block.num_tiles) {
      case 2: add_dv_and_dk<2>(query, key); break;
      case 4: add_dv_and_dk<4>(query, key); break;
      case 6: add_dv_and_dk<6>(query, key); break;
      default: add_dv_and_dk<8>(query, key); break;
    }
  }

  // dQ of the block in slot 0, or of it and the next block of keys in slot 1.
  template <int kBlocks>
  void add_to_queries(const GradientBlock& block) {
    float* dq = w_.dq + query_offset(block);
    const bfloat16* k = w_.k_transposed + key_offset(block);
    for (int64_t t = 0; t < block.num_tiles; ++t) {
      for (int64_t d = 0; d < dims() / 32; ++d) {
        add_product<4 * kBlocks>({k + d * 2 * kTileHalves, kTileHalves, kUnitKeys * dims(),
                                  ds_pairs_ + t * 2 * kTileHalves, kTileHalves, 2 * kTileHalves * block.num_tiles,
                                  dq + (t * dims() / 32 + d) * kUnitFloats});
      }
    }
  }

  void flush() {
    store_sums(pending_);
    pending_ = nowhere_;
  }

 private:
  static constexpr int64_t kBlock = kTileBlockKeys * kGradientQueries;  // numbers of P

  int64_t dims() const { return kDims == 0 ? padded_ : kDims; }
  int64_t query_offset(const GradientBlock& block) const {
    return (block.head * w_.query_tiles + block.tile) * kLanes * dims();
  }
  int64_t key_offset(const GradientBlock& block) const { return (block.key - w_.first_key) * dims(); }

  // Whether queries of this tile of the window do not see all keys of the unit.
  bool needs_mask(int64_t tile, int64_t key) const {
    const int64_t query = w_.first_query + tile * kLanes;
    if (query >= w_.visible.num_queries) return true;
    const KeyIntervals::Tile& sees = w_.visible.tiles[query / kLanes];
    return key < sees.all_begin || key + kUnitKeys > sees.all_end;
  }

  bool sees_nothing(int64_t tile, int64_t key) const {
    const int64_t query = w_.first_query + tile * kLanes;
    if (query >= w_.visible.num_queries) return true;
    const KeyIntervals::Tile& sees = w_.visible.tiles[query / kLanes];
    return key >= sees.any_end || key + kUnitKeys <= sees.any_begin;
  }

  // Where the vector work of unit (t, u) of a block finds and leaves its numbers.
  GradientUnit unit_of(const GradientBlock& block, int64_t t, int64_t u, const float* slot, bfloat16* ds_pairs) const {
    GradientUnit unit;
    const int64_t tile = (u * 2 * block.num_tiles + t) * kTileHalves;
    unit.scores = slot;
    unit.dp = slot + 2 * kUnitFloats;
    unit.factors = kFactorOfKey.data() + u * kUnitKeys;
    unit.p = p_ + tile;
    unit.ds = ds_ + tile;
    unit.second = block.num_tiles * kTileHalves;
    unit.ds_pairs = ds_pairs + (u * block.num_tiles + t) * 2 * kTileHalves;
    const int64_t lane = (block.tile + t) * kLanes, head_lane = block.head * w_.query_tiles * kLanes + lane;
    const __m512i key = _mm512_set1_epi32(static_cast<int32_t>(block.key + u * kUnitKeys));
    const auto half_of = [&](int64_t half) -> GradientHalf {
      return {_mm512_load_ps(w_.lse + head_lane + half * 16), _mm512_load_ps(w_.delta + head_lane + half * 16),
              _mm512_sub_epi32(key, _mm512_load_si512(w_.begin + lane + half * 16)),
              _mm512_load_si512(w_.length + lane + half * 16)};
    };
    unit.low = half_of(0);
    unit.high = half_of(1);
    return unit;
  }

  void compute_p_and_ds(const GradientBlock& block, bfloat16* ds_pairs) {
    const int64_t query = query_offset(block), key = key_offset(block);
    GradientUnit before;
    bool masked = false;
    int64_t num_multiplied = 0;
    for (int64_t i = 0; i < 4 * block.num_tiles; ++i) {
      const int64_t t = i / 4, u = i % 4, at = query + t * kLanes * dims(), keys = key + u * kUnitKeys * dims();
      float* slot = slots_ + num_multiplied % 2 * kUnitFloats;
      const GradientUnit unit = unit_of(block, t, u, slot, ds_pairs);
      if (sees_nothing(block.tile + t, block.key + u * kUnitKeys)) {
        no_gradient(unit);
        continue;
      }
      // The first has none before it: it makes what the slots hold into its own place, where the real work will go.
      if (num_multiplied == 0) before = unit;
      const UnitOperands scores = operands(w_.k_rows + keys, w_.q_columns + at);
      const UnitOperands dp = operands(w_.v_rows + keys, w_.g_columns + at);
      if (masked) {
        multiply_scores<true>(scores, dp, slot, before);
      } else {
        multiply_scores<false>(scores, dp, slot, before);
      }
      before = unit;
      masked = needs_mask(block.tile + t, block.key + u * kUnitKeys);
      ++num_multiplied;
    }
    flush();
    for (int64_t j = 0; j < 16 && num_multiplied > 0; ++j) {
      if (masked) {
        gradient_of_keys<true>(before, j, exponential_);
      } else {
        gradient_of_keys<false>(before, j, exponential_);
      }
    }
  }

  UnitOperands operands(const bfloat16* rows, const bfloat16* columns) const {
    return {rows, 16 * dims(), kTileHalves, columns, 16 * dims(), kTileHalves};
  }

  // S^T and dP^T of one unit, and p and ds of the unit before it.
  template <bool kMasked>
  __attribute__((noinline)) void multiply_scores(const UnitOperands& scores, const UnitOperands& dp, float* slot,
                                                 const GradientUnit& unit_before) {
    const Exponential e = exponential_;
    const GradientUnit before = unit_before;
    // 8 pairs of keys in each unit of 8, or of 16 or more multiplications.
    multiply_unit<kDims / 32, Begin::kZero>(pending_, scores, dims() / 32, [&](int i) __attribute__((always_inline)) {
      if (kDims == 64) gradient_of_keys<kMasked>(before, i, e);
      if (kDims != 64 && i % 2 == 1 && i < 16) gradient_of_keys<kMasked>(before, i / 2, e);
    });
    multiply_unit<kDims / 32, Begin::kZero>(slot, dp, dims() / 32, [&](int i) __attribute__((always_inline)) {
      if (kDims == 64) gradient_of_keys<kMasked>(before, 8 + i, e);
      if (kDims != 64 && i % 2 == 1 && i < 16) gradient_of_keys<kMasked>(before, 8 + i / 2, e);
    });
    pending_ = slot + 2 * kUnitFloats;
  }

  template <int kTiles>
  void add_dv_and_dk(int64_t query, int64_t key) {
    add_to_gradient<kTiles>(w_.dv + key, p_, w_.g_pairs + query);
    add_to_gradient<kTiles>(w_.dk + key, ds_, w_.q_pairs + query);
  }

  // 128 keys x all dims: units by dims, then keys.
  template <int kTiles>
  void add_to_gradient(float* to, const bfloat16* weights, const bfloat16* pairs) {
    for (int64_t d = 0; d < dims() / 32; ++d) {
      for (int64_t u = 0; u < 4; ++u) {
        add_product<kTiles>({weights + u * 2 * kTiles * kTileHalves, kTiles * kTileHalves, kTileHalves,
                             pairs + d * 2 * kTileHalves, kTileHalves, kLanes * dims(), to + (d * 4 + u) * kUnitFloats});
      }
    }
  }

  template <int kSteps>
  __attribute__((noinline)) void add_product(const UnitOperands& operands) {
    multiply_unit<kSteps, Begin::kSums>(pending_, operands, kSteps, [](int) __attribute__((always_inline)) {});
    pending_ = const_cast<float*>(operands.c);
  }

  const GradientWindow& w_;
  int64_t padded_;
  float *slots_, *nowhere_, *pending_;  // slots: two of S, two of dP
  bfloat16 *p_, *ds_, *ds_pairs_;
  Exponential exponential_;
};

}  // namespace longspan::LS_CPU_LEVEL
