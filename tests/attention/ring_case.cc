#include "tests/attention/ring_case.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/random.h"

namespace longspan::test {

namespace {

// How far a number may be off, in roundings. Those to bfloat16 are of each term by itself; those of floats may all go one way,
// as the one of LSE does, and of n terms that is sqrt(n) times as much at most.
constexpr double kRoundingsInFloat = 8, kRoundingsInBFloat16 = 4;
constexpr double kNothing = 1e-30;  // of a p that small, floats may make 0

double rounded(DType dtype, double x) {
  const auto f = static_cast<float>(x);
  return static_cast<double>(dtype == DType::kBFloat16 ? static_cast<float>(bfloat16(f)) : f);
}

double logit_scale(const RingCase& ring, int64_t token) {
  switch (ring.logits) {
    case RingCase::Logits::kPlain: return 1;
    case RingCase::Logits::kSmall: return 0.01;
    case RingCase::Logits::kLarge: return 8;
    case RingCase::Logits::kGrowing: return 0.1 * static_cast<double>(token);
    case RingCase::Logits::kOutliers: return token % 53 == 7 ? 30 : 1;
  }
  return 1;
}

ExactProblem whole_problem(const RingCase& ring, DType dtype) {
  ExactProblem x = {.num_queries = ring.num_tokens(), .num_keys = ring.num_tokens(), .num_heads = ring.num_heads,
                    .num_kv_heads = ring.num_kv_heads, .head_dim = ring.head_dim,
                    .scale = 1 / std::sqrt(static_cast<double>(ring.head_dim)), .q = {}, .k = {}, .v = {}, .dy = {},
                    .seen = {}};
  const auto fill = [&](std::vector<double>& values, const char* name, int64_t heads) {
    const RandomStream random(ring.seed, name);
    const int64_t row = heads * ring.head_dim;
    for (int64_t i = 0; i < ring.num_tokens() * row; ++i) {
      const double scale = *name == 'k' ? logit_scale(ring, i / row) : 1;
      values.push_back(rounded(dtype, scale * random.normal(static_cast<uint64_t>(i))));
    }
  };
  fill(x.q, "q", ring.num_heads);
  fill(x.k, "k", ring.num_kv_heads);
  fill(x.v, "v", ring.num_kv_heads);
  fill(x.dy, "dy", ring.num_heads);
  for (const IndexInterval& i : ring.visible) x.seen.emplace_back(i.begin, i.end);
  return x;
}

template <class T>
void copy_rows(const ExactProblem& x, const std::vector<double>& from, const std::vector<int64_t>& places,
               const Tensor& rows) {
  const auto to = rows.view<T, 3>();
  const int64_t heads = rows.size(1);
  for (size_t i = 0; i < places.size(); ++i) {
    for (int64_t h = 0; h < heads; ++h) {
      const double* values = from.data() + (places[i] * heads + h) * x.head_dim;
      std::transform(values, values + x.head_dim, &to(static_cast<int64_t>(i), h, 0),
                     [](double v) { return T(static_cast<float>(v)); });
    }
  }
}

// One rank's share, and what is computed of it.
struct Share {
  IndexRanges ranges;
  std::vector<int64_t> places;
  Tensor q, k, v, dy;
  AttentionState state;
  Tensor dq, dk, dv;
};

class RingRun {
 public:
  RingRun(const RingCase& ring, const ExactProblem& x, const Context& context)
      : ring_(ring), x_(x), context_(context), kernel_(context.kernels<BlockAttention>()) {
    for (const IndexRanges& ranges : ring.shares) shares_.push_back(make_share(ranges));
  }

  Result run() {
    for (size_t rank = 0; rank < shares_.size(); ++rank) forward(rank);
    for (size_t rank = 0; rank < shares_.size(); ++rank) backward(rank);
    Result result;
    const int64_t q_row = ring_.num_heads * ring_.head_dim, kv_row = ring_.num_kv_heads * ring_.head_dim;
    result.lse.resize(static_cast<size_t>(ring_.num_heads * ring_.num_tokens()));
    for (const Share& share : shares_) {
      collect(share.places, share.state.output, q_row, result.output);
      collect(share.places, share.dq, q_row, result.dq);
      collect(share.places, share.dk, kv_row, result.dk);
      collect(share.places, share.dv, kv_row, result.dv);
      const auto n = static_cast<int64_t>(share.places.size());
      for (int64_t i = 0; i < ring_.num_heads * n; ++i) {
        result.lse[static_cast<size_t>(i / n * ring_.num_tokens() + share.places[static_cast<size_t>(i % n)])] =
            static_cast<double>(share.state.lse.data<float>()[i]);
      }
    }
    return result;
  }

 private:
  // Rows as strided as the case wants them, with not-a-number between, which must not be read.
  Tensor strided(const std::vector<double>& values, const std::vector<int64_t>& places, int64_t heads) const {
    const auto n = static_cast<int64_t>(places.size());
    const DType dtype = context_.compute_dtype();
    const Tensor padded = context_.empty({n, heads + ring_.extra_heads, ring_.head_dim + ring_.extra_elements}, dtype);
    std::memset(padded.raw(), 0xff, padded.num_bytes());
    const Tensor rows = padded.slice(1, ring_.extra_heads / 2, ring_.extra_heads / 2 + heads).slice(2, 0, ring_.head_dim);
    dtype == DType::kFloat32 ? copy_rows<float>(x_, values, places, rows) : copy_rows<bfloat16>(x_, values, places, rows);
    return rows;
  }

  Share make_share(const IndexRanges& ranges) const {
    Share share = {.ranges = ranges, .places = indices(ranges), .q = {}, .k = {}, .v = {}, .dy = {}, .state = {}, .dq = {},
                   .dk = {}, .dv = {}};
    const auto n = static_cast<int64_t>(share.places.size());
    share.q = strided(x_.q, share.places, ring_.num_heads);
    share.k = strided(x_.k, share.places, ring_.num_kv_heads);
    share.v = strided(x_.v, share.places, ring_.num_kv_heads);
    share.dy = strided(x_.dy, share.places, ring_.num_heads);
    share.state = kernel_.initial_state(context_, n, ring_.num_heads, ring_.head_dim);
    share.dq = context_.zeros({n, ring_.num_heads, ring_.head_dim}, DType::kFloat32);
    share.dk = context_.zeros({n, ring_.num_kv_heads, ring_.head_dim}, DType::kFloat32);
    share.dv = context_.zeros({n, ring_.num_kv_heads, ring_.head_dim}, DType::kFloat32);
    return share;
  }

  // Calls visit(block, owner) for each hop of a rank.
  template <class Visit>
  void for_each_hop(size_t rank, const Visit& visit) {
    const Share& mine = shares_[rank];
    std::vector<IndexInterval> visible;
    for (const int64_t place : mine.places) visible.push_back(ring_.visible[static_cast<size_t>(place)]);
    for (size_t hop = 0; hop < shares_.size(); ++hop) {
      Share& owner = shares_[(rank + shares_.size() - hop) % shares_.size()];
      const KeyIntervals intervals(visible, owner.ranges);
      visit({.q = mine.q, .k = owner.k, .v = owner.v, .visible = &intervals, .scale = x_.scale}, owner);
    }
  }

  void forward(size_t rank) {
    for_each_hop(rank, [&](const AttentionBlock& block, const Share&) {
      kernel_.forward(context_, block, shares_[rank].state);
    });
  }

  void backward(size_t rank) {
    const Share& mine = shares_[rank];
    const Tensor delta = context_.empty(mine.state.lse.shape(), DType::kFloat32);
    kernel_.delta(context_, mine.state.output, mine.dy, delta);
    for_each_hop(rank, [&](const AttentionBlock& block, const Share& owner) {
      kernel_.backward(context_, block, {.doutput = mine.dy, .lse = mine.state.lse, .delta = delta, .dq = mine.dq,
                                         .dk = owner.dk, .dv = owner.dv});
    });
  }

  static void collect(const std::vector<int64_t>& places, const Tensor& rows, int64_t row, std::vector<double>& all) {
    for (size_t i = 0; i < places.size(); ++i) {
      const auto end = static_cast<size_t>((places[i] + 1) * row);
      if (all.size() < end) all.resize(end);
      std::copy_n(rows.data<float>() + static_cast<int64_t>(i) * row, row, all.data() + places[i] * row);
    }
  }

  const RingCase& ring_;
  const ExactProblem& x_;
  const Context& context_;
  const BlockAttention& kernel_;
  std::vector<Share> shares_;
};

std::string compare(DType dtype, int64_t num_tokens, const Result& got, const Exact& exact) {
  std::string error;
  const double in_float = kRoundingsInFloat * 0x1p-24 * std::sqrt(static_cast<double>(num_tokens));
  const double in_bfloat16 = dtype == DType::kBFloat16 ? kRoundingsInBFloat16 * 0x1p-8 : 0;
  for_each_part(
      [&](const char* part, const auto& g, const auto& want, const auto& spread, const auto& float_spread) {
        for (size_t i = 0; i < want.size() && error.empty(); ++i) {
          const double allowed = in_float * float_spread[i] + in_bfloat16 * spread[i] + kNothing;
          if (i < g.size() && (g[i] == want[i] || std::abs(g[i] - want[i]) <= allowed)) continue;
          error = fmt::format("{} [{}] is {}, not {}, and may be off by {}", part, i, i < g.size() ? g[i] : NAN, want[i],
                              allowed);
        }
      },
      got, exact.value, exact.spread, exact.float_spread);
  return error;
}

}  // namespace

std::string find_ring_error(const RingCase& ring) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const ExactProblem problem = whole_problem(ring, dtype);
    const Exact exact = exact_attention(problem);
    for (const ContextMaker& maker : context_makers()) {
      if (dtype == DType::kFloat32 && maker.only_bfloat16) continue;
      const Context context = maker.make(dtype, ring.num_threads);
      const std::string error = compare(dtype, ring.num_tokens(), RingRun(ring, problem, context).run(), exact);
      if (!error.empty()) return fmt::format("{} {}: {}\n{}", maker.name, name(dtype), error, ring.text);
    }
  }
  return {};
}

}  // namespace longspan::test
