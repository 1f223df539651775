// Forward over a stream of (block of 128 keys, tile of 32 queries), without a pause between tiles.
//
// While unit u of the scores is multiplied, the vector unit makes weights of unit u - 1, and units of O^T of the block before
// are multiplied in between. A unit is 16 multiplications (of scores: 8 at 64 dims), for each a pair of vectors (two):
//   64 dims, two iterations a block:  S(u) S(u + 1) | O(u / 2) of the block before;  weights of u - 1, then of u
//   128 dims, four:                   S(u) | O(u - 1) of the block before;           weights of u - 1
//   n times 128, four:                the same with n units of O
// Scores lie in a ring of two slots, weights of two blocks side by side; both stay in the first cache.
#pragma once

#include "attention/kernels/cpu/amx/softmax.h"

namespace longspan::LS_CPU_LEVEL {

// kDims: 64, 128, or 0 for any multiple of 128.
template <int kDims>
class ForwardStream {
 public:
  static constexpr int64_t kScratchFloats = 4 * kUnitFloats + kWeightHalves;

  // `nothing`: a step that feeds the pipeline while it fills and drains.
  ForwardStream(float* scratch, const BlockStep& nothing, int64_t padded, float scale_to_base2)
      : slots_(scratch), weights_(reinterpret_cast<bfloat16*>(scratch + 2 * kUnitFloats)),
        spill_(scratch + 2 * kUnitFloats + kWeightHalves), pending_(spill_ + kUnitFloats), nothing_(nothing),
        padded_(padded), exponential_(scale_to_base2) {
    for (int64_t i = 0; i < kScratchFloats; ++i) scratch[i] = 0;
    nothing_.weights = weights_;
    current_ = previous_ = before_ = nothing_;
    zero_sums();
  }

  void attend(const BlockStep& step) {
    take(step);
    if constexpr (kDims == 64) {
      weights_of_[count_ % 2] = current_.tile;
      iterate_64({current_, 0}, {previous_, 3}, {current_, 0}, {previous_, 0});
      iterate_64({current_, 2}, {current_, 1}, {current_, 2}, {previous_, 1});
    } else {
      iterate({current_, 0}, {previous_, 3}, {before_, 3});
      weights_of_[count_ % 2] = current_.tile;
      for (int64_t u = 1; u < 4; ++u) iterate({current_, u}, {current_, u - 1}, {previous_, u - 1});
    }
  }

  void drain() {
    attend(nothing_);
    if constexpr (kDims != 64) {
      take(nothing_);
      iterate({current_, 0}, {previous_, 3}, {before_, 3});
    }
    store_sums(pending_);
  }

 private:
  struct UnitOf {
    const BlockStep& step;
    int64_t unit;
  };

  void take(const BlockStep& step) {
    before_ = previous_;
    previous_ = current_;
    current_ = step;
    current_.weights = weights_ + ++count_ % 2 * kWeightHalves;
  }

  void iterate(UnitOf scores, UnitOf weights, UnitOf output) {
    if (weights.step.masked) {
      iterate_one<true>(scores, weights, output);
    } else {
      iterate_one<false>(scores, weights, output);
    }
  }
  void iterate_64(UnitOf scores, UnitOf first, UnitOf second, UnitOf output) {
    if (first.step.masked || second.step.masked) {
      iterate_two<true>(scores, first, second, output);
    } else {
      iterate_two<false>(scores, first, second, output);
    }
  }

  template <bool kMasked>
  __attribute__((noinline)) void iterate_one(UnitOf scores, UnitOf weights, UnitOf output) {
    const Exponential e = exponential_;
    ScoreHalf low = begin_half(weights.step, slot(weights.unit), weights.unit, 0);
    multiply_scores(scores, [&](int i) __attribute__((always_inline)) {
      if (i < 16) weigh_pair<kMasked>(low, i, e);
    });
    finish<kMasked>(weights.step, low, 0);
    ScoreHalf high = begin_half(weights.step, slot(weights.unit), weights.unit, 1);
    const int64_t num_outputs = dims() / 128;
    multiply_output(output.step, output.unit * num_outputs,
                    [&](int i) __attribute__((always_inline)) { weigh_pair<kMasked>(high, i, e); });
    finish<kMasked>(weights.step, high, 1);
    for (int64_t o = 1; o < num_outputs; ++o) {
      multiply_output(output.step, output.unit * num_outputs + o, [](int) __attribute__((always_inline)) {});
    }
  }

  // What the functions called between multiplications use is captured once: through two of them the compiler would no longer
  // keep it in registers.
  template <bool kMasked>
  __attribute__((noinline)) void iterate_two(UnitOf scores, UnitOf first, UnitOf second, UnitOf output) {
    const Exponential e = exponential_;
    ScoreHalf low = begin_half(first.step, slot(first.unit), first.unit, 0);
    multiply_scores(scores, [&](int i) __attribute__((always_inline)) { weigh_two_pairs<kMasked>(low, i, e); });
    finish<kMasked>(first.step, low, 0);
    ScoreHalf high = begin_half(first.step, slot(first.unit), first.unit, 1);
    multiply_scores({scores.step, scores.unit + 1},
                    [&](int i) __attribute__((always_inline)) { weigh_two_pairs<kMasked>(high, i, e); });
    finish<kMasked>(first.step, high, 1);
    ScoreHalf next_low = begin_half(second.step, slot(second.unit), second.unit, 0);
    ScoreHalf next_high = begin_half(second.step, slot(second.unit), second.unit, 1);
    multiply_output(output.step, output.unit, [&](int i) __attribute__((always_inline)) {
      if (i < 8) {
        weigh_two_pairs<kMasked>(next_low, i, e);
      } else {
        weigh_two_pairs<kMasked>(next_high, i - 8, e);
      }
    });
    finish<kMasked>(second.step, next_low, 0);
    finish<kMasked>(second.step, next_high, 1);
  }

  template <class Between>
  LS_ALWAYS_INLINE void multiply_scores(UnitOf at, Between between) {
    const UnitOperands operands = {at.step.keys + at.unit * kUnitKeys * dims(), 16 * dims(), kTileHalves,
                                   at.step.tile->q, 16 * dims(), kTileHalves};
    multiply_unit<kDims / 32, Begin::kZero>(pending_, operands, dims() / 32, between);
    pending_ = slot(at.unit);
    pending_tile_ = nullptr;
  }

  // 32 dims of O^T.
  template <class Between>
  LS_ALWAYS_INLINE void multiply_output(const BlockStep& step, int64_t unit, Between between) {
    float* output = step.tile->output + unit * kUnitFloats;
    const UnitOperands operands = {step.values + unit * 2 * kTileHalves, kTileHalves, kUnitKeys * dims(),
                                   step.weights, kTileHalves, 2 * kTileHalves, output};
    multiply_unit<4, Begin::kSums>(pending_, operands, 4, between);
    pending_ = output;
    pending_tile_ = step.tile;
  }

  template <bool kMasked>
  LS_ALWAYS_INLINE void finish(const BlockStep& step, const ScoreHalf& half, int64_t column) {
    HalfSums sums = {half.sum, half.weight};
    if (__builtin_expect(outgrown(half), 0)) sums = raise<kMasked>(step, half, column);
    float *sum = step.tile->sum + column * 16, *weight = step.tile->weight + column * 16;
    _mm512_store_ps(sum, _mm512_add_ps(_mm512_load_ps(sum), sums.sum));
    _mm512_store_ps(weight, _mm512_add_ps(_mm512_load_ps(weight), sums.weight));
  }

  // By value: what has an address cannot live in registers.
  template <bool kMasked>
  __attribute__((noinline)) HalfSums raise(const BlockStep& step, ScoreHalf half, int64_t column) {
    QueryTile& tile = *step.tile;
    const __mmask16 lanes = outgrown(half);
    const __m512 reference = raised_reference(half, lanes, kMasked, exponential_);
    // A query's first keys find nothing that was computed with another reference.
    if (_mm512_mask_cmp_ps_mask(lanes, half.reference, _mm512_set1_ps(kNothingSeen), _CMP_NEQ_UQ)) {
      const __m512 one = _mm512_set1_ps(1.0f);
      rescale(tile, column, _mm512_mask_scalef_ps(one, lanes, one, _mm512_sub_ps(half.reference, reference)));
    }
    _mm512_store_ps(tile.reference + column * 16, reference);
    half.reference = reference;
    half.sum = half.weight = _mm512_setzero_ps();
    for (int64_t i = 0; i < 16; ++i) weigh_pair<kMasked>(half, i, exponential_);
    return {half.sum, half.weight};
  }

  // All that was computed with the old reference: in the state, in weights not yet used, in the tiles.
  void rescale(QueryTile& tile, int64_t column, __m512 factor) {
    scale_floats(tile.sum + column * 16, 1, factor);
    scale_floats(tile.weight + column * 16, 1, factor);
    for (int64_t d = 0; d < dims(); d += 16) scale_floats(tile.output + d * kLanes + column * kTileFloats, 16, factor);
    for (int64_t block = 0; block < 2; ++block) {
      if (weights_of_[block] == &tile) scale_weights(weights_ + block * kWeightHalves, column, factor);
    }
    if (pending_tile_ != &tile) return;
    store_sums(spill_);
    scale_floats(spill_ + column * kTileFloats, 16, factor);
    scale_floats(spill_ + (2 + column) * kTileFloats, 16, factor);
    load_sums(spill_);
  }

  float* slot(int64_t unit) const { return slots_ + unit % 2 * kUnitFloats; }
  int64_t dims() const { return kDims == 0 ? padded_ : kDims; }

  float* slots_;
  bfloat16* weights_;
  float* spill_;
  float* pending_;                            // where the sums in the tiles belong
  const QueryTile* pending_tile_ = nullptr;   // whose O they are; null: scores
  const QueryTile* weights_of_[2] = {nullptr, nullptr};
  BlockStep nothing_, current_, previous_, before_;
  int64_t padded_, count_ = 0;
  Exponential exponential_;
};

}  // namespace longspan::LS_CPU_LEVEL
