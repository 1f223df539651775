// The packed copies and the sums of a window of backward, of several key heads; the same arrays serve all windows.
#pragma once

#include "attention/kernels/cpu/amx/driver.h"

namespace longspan::tile_driver {

// What one window of backward holds at most.
struct GradientExtent {
  int64_t heads = 1, lanes = 0, keys = 0;  // key heads; queries of a head, a multiple of 64; keys, a multiple of 128

  int64_t bytes_of_head(int64_t group, int64_t padded) const {  // of what has a number for each dim
    constexpr int64_t kOfQuery = 4 * sizeof(bfloat16) + sizeof(float), kOfKey = 3 * sizeof(bfloat16) + 2 * sizeof(float);
    return (lanes * group * kOfQuery + keys * kOfKey) * padded;
  }
};

// Of `num_queries` queries that see keys within `num_keys`, counted from the first block of keys that any of them sees.
inline GradientExtent gradient_extent(const TileWindows& windows, int64_t num_queries, int64_t num_keys, int64_t num_kv_heads,
                                      int64_t group, int64_t padded) {
  GradientExtent extent;
  extent.lanes = std::min(rounded_up(divide_up(windows.tokens, group), 2 * kLanes), rounded_up(num_queries, 2 * kLanes));
  extent.keys = std::min(rounded_up(windows.tokens, kTileBlockKeys), rounded_up(num_keys, kTileBlockKeys));
  extent.heads = std::clamp(windows.bytes / extent.bytes_of_head(group, padded), int64_t{1}, num_kv_heads);
  return extent;
}

class GradientArrays {
 public:
  GradientArrays(const Context& c, const GradientExtent& extent, int64_t group, int64_t padded)
      : q_columns_(c, extent.heads, group * extent.lanes * padded), q_pairs_(c, extent.heads, group * extent.lanes * padded),
        g_columns_(c, extent.heads, group * extent.lanes * padded), g_pairs_(c, extent.heads, group * extent.lanes * padded),
        k_rows_(c, extent.heads, extent.keys * padded), v_rows_(c, extent.heads, extent.keys * padded),
        k_transposed_(c, extent.heads, extent.keys * padded), lse_(c, extent.heads, group * extent.lanes),
        delta_(c, extent.heads, group * extent.lanes), dq_(c, extent.heads, group * extent.lanes * padded),
        dk_(c, extent.heads, extent.keys * padded), dv_(c, extent.heads, extent.keys * padded), bounds_(c, 2, extent.lanes) {}

  // Those of one key head.
  GradientWindow window(int64_t head) const {
    GradientWindow w;
    w.q_columns = q_columns_.row(head);
    w.q_pairs = q_pairs_.row(head);
    w.g_columns = g_columns_.row(head);
    w.g_pairs = g_pairs_.row(head);
    w.k_rows = k_rows_.row(head);
    w.v_rows = v_rows_.row(head);
    w.k_transposed = k_transposed_.row(head);
    w.lse = lse_.row(head);
    w.delta = delta_.row(head);
    w.dq = dq_.row(head);
    w.dk = dk_.row(head);
    w.dv = dv_.row(head);
    w.begin = bounds_.row(0);
    w.length = bounds_.row(1);
    return w;
  }

 private:
  Workspace<bfloat16> q_columns_, q_pairs_, g_columns_, g_pairs_, k_rows_, v_rows_, k_transposed_;
  Workspace<float> lse_, delta_, dq_, dk_, dv_;
  Workspace<int32_t> bounds_;
};

}  // namespace longspan::tile_driver
