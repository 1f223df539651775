// Backward: windows of queries and keys are packed, gradients are summed in tiles by a grid of tasks, and then added to the
// caller's.
#include <atomic>
#include <thread>
#include <vector>

#include "attention/kernels/cpu/amx/driver.h"

namespace longspan {

namespace {

using namespace tile_driver;

constexpr int64_t kPackTokens = 256;  // of a task that packs
constexpr float kLog2E = 1.44269504088896341f;

// Packed copies and sums of the key heads of a window; the same arrays serve all windows.
struct GradientArrays {
  Workspace<bfloat16> q_columns, q_pairs, g_columns, g_pairs, k_rows, v_rows, k_transposed;
  Workspace<float> lse, delta, dq, dk, dv;
  Workspace<int32_t> bounds;

  GradientArrays(const Context& c, int64_t heads, int64_t lanes, int64_t group, int64_t keys, int64_t padded)
      : q_columns(c, heads, group * lanes * padded), q_pairs(c, heads, group * lanes * padded),
        g_columns(c, heads, group * lanes * padded), g_pairs(c, heads, group * lanes * padded),
        k_rows(c, heads, keys * padded), v_rows(c, heads, keys * padded), k_transposed(c, heads, keys * padded),
        lse(c, heads, group * lanes), delta(c, heads, group * lanes), dq(c, heads, group * lanes * padded),
        dk(c, heads, keys * padded), dv(c, heads, keys * padded), bounds(c, 2, lanes) {}

  GradientWindow window(int64_t head) const {
    GradientWindow w;
    w.q_columns = q_columns.row(head);
    w.q_pairs = q_pairs.row(head);
    w.g_columns = g_columns.row(head);
    w.g_pairs = g_pairs.row(head);
    w.k_rows = k_rows.row(head);
    w.v_rows = v_rows.row(head);
    w.k_transposed = k_transposed.row(head);
    w.lse = lse.row(head);
    w.delta = delta.row(head);
    w.dq = dq.row(head);
    w.dk = dk.row(head);
    w.dv = dv.row(head);
    w.begin = bounds.row(0);
    w.length = bounds.row(1);
    return w;
  }
};

// One problem of backward: the caller's tensors and how the kernels see them.
class BackwardProblem {
 public:
  BackwardProblem(const Context& context, const TileKernels& kernels, const AttentionBlock& block,
                  const AttentionGradient& gradient)
      : context_(context), kernels_(kernels), block_(block), gradient_(gradient), num_queries_(block.q.size(0)),
        num_kv_heads_(block.k.size(1)), group_(block.q.size(1) / num_kv_heads_), head_dim_(block.q.size(2)),
        padded_(padded_head_dim(head_dim_)), num_tiles_(static_cast<int64_t>(block.visible->tiles().size())) {}

  void run() const;

 private:
  void run_window(const GradientArrays& arrays, Span heads, Span tiles, Span keys, Span seen) const;
  void set_bounds(const GradientWindow& window) const;
  void pack_queries(const GradientWindow& window, int64_t kv_head, int64_t head, int64_t first) const;
  void pack_keys(const GradientWindow& window, int64_t kv_head, Span seen, int64_t first, int64_t count) const;
  void add_gradients(std::vector<GradientWindow>& windows) const;
  void add_queries(const GradientWindow& window, int64_t head, int64_t tile) const;
  void add_keys(const GradientWindow& window, int64_t kv_head, int64_t key) const;

  const Context& context_;
  const TileKernels& kernels_;
  const AttentionBlock& block_;
  const AttentionGradient& gradient_;
  int64_t num_queries_, num_kv_heads_, group_, head_dim_, padded_, num_tiles_;
};

}  // namespace

}  // namespace longspan
