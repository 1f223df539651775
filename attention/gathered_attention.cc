#include "attention/gathered_attention.h"

#include <deque>
#include <functional>

#include "attention/block_passes.h"
#include "attention/head_exchange.h"
#include "core/kernels/elementwise.h"

namespace longspan {

namespace {

// Key heads that are attended with at once, and their query heads.
struct HeadSet {
  HeadRange keys, queries;
  HeadTable table;  // every rank wants these keys
};

std::vector<HeadSet> sets_of(int64_t num_heads, int64_t num_kv_heads, int64_t at_once, int num_ranks) {
  check(num_kv_heads >= 1 && num_heads % num_kv_heads == 0, "{} heads, {} of keys", num_heads, num_kv_heads);
  const int64_t group = num_heads / num_kv_heads;
  std::vector<HeadSet> sets;
  for (int64_t begin = 0; begin < num_kv_heads; begin += at_once) {
    const HeadRange keys = {begin, std::min(begin + at_once, num_kv_heads)};
    sets.push_back({.keys = keys,
                    .queries = {keys.begin * group, keys.end * group},
                    .table = HeadTable(static_cast<size_t>(num_ranks), {keys})});
  }
  return sets;
}

// Calls attend(set, k, v) with the keys and values of all tokens for each set of heads, the transfers of the next under way.
void for_each_set(Context& context, const HeadGroup& group, const std::vector<HeadSet>& sets, const Tensor& k, const Tensor& v,
                  const std::function<void(const HeadSet& set, int index, const Tensor& k, const Tensor& v)>& attend) {
  struct Arriving {
    HeadGather k, v;
  };
  const Context::ProgressGuard progress(context, [&group] { group.ranks.progress(); });
  std::deque<Arriving> arriving;
  const auto post = [&](size_t i) {
    if (i < sets.size()) arriving.push_back({{context, group, sets[i].table, k}, {context, group, sets[i].table, v}});
  };
  post(0);
  for (size_t i = 0; i < sets.size(); ++i) {
    const Tensor all_k = arriving.front().k.finish(MemoryTag::kCommunication).front();
    const Tensor all_v = arriving.front().v.finish(MemoryTag::kCommunication).front();
    arriving.pop_front();
    post(i + 1);
    attend(sets[i], static_cast<int>(i), all_k, all_v);
  }
}

// The heads of all sets side by side.
class Columns {
 public:
  Columns(Context& context, const Shape& shape) : context_(context), shape_(shape) {}
  void set(const HeadRange& heads, const Tensor& x, MemoryTag tag = MemoryTag::kActivations) {
    if (x.shape() == shape_) {
      whole_ = x;
      return;
    }
    if (!whole_.defined()) whole_ = context_.empty(shape_, x.dtype(), tag);
    context_.copy_rows(x, whole_.slice(1, heads.begin, heads.end));
  }
  const Tensor& whole() const { return whole_; }

 private:
  Context& context_;
  Shape shape_;
  Tensor whole_;
};

}  // namespace

GatheredAttention::GatheredAttention(Communicator& ranks, double scale, int64_t kv_heads_at_once)
    : ranks_(ranks), scale_(scale), kv_heads_at_once_(kv_heads_at_once) {
  check(kv_heads_at_once >= 1, "keys of {} heads gathered at once", kv_heads_at_once);
}

Tensor GatheredAttention::do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v,
                                     const TileMap& tiles, AttentionStash* stash) const {
  const MemoryTag tag = kept_in(stash);
  const auto sets = sets_of(q.size(1), k.size(1), kv_heads_at_once_, ranks_.size());
  const HeadGroup group{ranks_, tiles.all_keys().places};
  Columns output(context, q.shape());
  const Tensor lse = context.empty({q.size(1), q.size(0)}, context.accumulator_dtype(), tag);
  for_each_set(context, group, sets, k, v, [&](const HeadSet& set, int index, const Tensor& all_k, const Tensor& all_v) {
    ForwardPass pass(context, q.slice(1, set.queries.begin, set.queries.end), scale_,
                     sets.size() == 1 ? tag : MemoryTag::kActivations);
    pass.attend(all_k, all_v, tiles.all_keys().visible, index);
    context.copy(pass.lse(), lse.slice(0, set.queries.begin, set.queries.end));
    output.set(set.queries, pass.finish(), tag);
  });
  if (stash) *stash = {.q = q, .k = k, .v = v, .output = output.whole(), .lse = lse, .parts = {}, .num_kv_heads = 0};
  return output.whole();
}

QkvGradient GatheredAttention::do_backward(Context& context, const Tensor& doutput, const TileMap& tiles,
                                           AttentionStash& stash) const {
  const auto sets = sets_of(doutput.size(1), stash.k.size(1), kv_heads_at_once_, ranks_.size());
  const HeadGroup group{ranks_, tiles.all_keys().places};
  struct Leaving {
    HeadRange keys;
    HeadScatter dk, dv;
  };
  std::deque<Leaving> leaving;
  Columns dq(context, doutput.shape()), dk(context, stash.k.shape()), dv(context, stash.v.shape());
  const auto take_home = [&] {
    Leaving& set = leaving.front();
    dk.set(set.keys, set.dk.finish());
    dv.set(set.keys, set.dv.finish());
    leaving.pop_front();
  };
  for_each_set(context, group, sets, stash.k, stash.v,
               [&](const HeadSet& set, int index, const Tensor& all_k, const Tensor& all_v) {
    const auto mine = [&](const Tensor& x) { return x.slice(1, set.queries.begin, set.queries.end); };
    AttentionStash part = {.q = mine(stash.q), .k = {}, .v = {}, .output = mine(stash.output),
                           .lse = stash.lse.slice(0, set.queries.begin, set.queries.end), .parts = {}, .num_kv_heads = 0};
    BackwardPass pass(context, part, mine(doutput), scale_);
    const std::vector<Tensor> dkv = pass.attend(all_k, all_v, tiles.all_keys().visible, index);
    dq.set(set.queries, pass.dq());
    leaving.push_back({set.keys, {context, group, set.table, {dkv[0]}}, {context, group, set.table, {dkv[1]}}});
    if (leaving.size() > 1) take_home();
  });
  while (!leaving.empty()) take_home();
  return {.dq = dq.whole(), .dk = dk.whole(), .dv = dv.whole()};
}

}  // namespace longspan
