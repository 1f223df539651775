#include "attention/scheme_cost.h"

#include <fmt/core.h>

#include <algorithm>

#include "attention/exchanged_heads.h"
#include "core/base/error.h"

namespace longspan {

namespace {

// Of one direction.
struct Pass {
  double seconds = 0, compute = 0, bytes = 0;
};

class Model {
 public:
  Model(const AttentionShape& shape, const AttentionRates& rates)
      : s_(shape),
        r_(rates),
        ranks_(shape.num_ranks),
        per_host_(std::min(shape.ranks_per_host, shape.num_ranks)),
        tokens_(static_cast<double>(shape.num_tokens) / shape.num_ranks),
        row_(static_cast<double>(shape.head_dim) * static_cast<double>(size_bytes(shape.dtype))),
        sum_row_(static_cast<double>(shape.head_dim) * static_cast<double>(size_bytes(accumulator(shape.dtype)))),
        most_(shape.most_pairs),
        heads_(static_cast<double>(shape.num_heads)),
        keys_(static_cast<double>(shape.num_kv_heads)) {}

  Pass ring(bool forward) const { return rings(forward, {ranks_, 1, tokens_, most_, heads_, keys_}); }
  Pass double_ring(bool forward, int window) const {
    return rings(forward, {window, ranks_ / window, tokens_, most_, heads_, keys_});
  }

  Pass all_gather(bool forward) const {
    const double sets = keys_, others = ranks_ - 1;
    const double gathered = 2 * others * tokens_ * row_, summed = forward ? 0 : 2 * others * tokens_ * sum_row_;  // of a set
    const double c = compute(forward, most_, heads_ / sets), m = to_all(ranks_, 2, gathered);
    const double g = forward ? 0 : to_all(ranks_, 2, summed);
    return {.seconds = m + (sets - 1) * std::max(c, m + g) + c + g, .compute = sets * c, .bytes = sets * (gathered + summed)};
  }

  // Heads exchanged in groups of `inner`, rings across them.
  Pass exchanged(bool forward, int inner) const {
    const ExchangedHeads split = exchanged_heads(s_.num_heads, s_.num_kv_heads, inner);
    double queries = 0, keys = 0;  // heads of the rank with most
    for (size_t rank = 0; rank < split.queries.size(); ++rank) {
      double q = 0, k = 0;
      for (const HeadRange& part : split.queries[rank]) q += static_cast<double>(part.size());
      for (const HeadRange& part : split.keys[rank]) k += static_cast<double>(part.size());
      queries = std::max(queries, q);
      keys = std::max(keys, k);
    }
    const double others = inner - 1, sum = split.replicated ? sum_row_ : row_;
    const double q_bytes = others * tokens_ * queries * row_, k_bytes = 2 * others * tokens_ * keys * row_;
    const double dk_bytes = 2 * others * tokens_ * keys * sum;
    const double in = forward ? q_bytes + k_bytes : q_bytes, out = forward ? q_bytes : q_bytes + dk_bytes;
    const double pairs = inner == ranks_ ? s_.total_pairs : std::min(s_.total_pairs, most_ * inner);
    Pass pass = rings(forward, {ranks_ / inner, 1, tokens_ * inner, pairs, queries, keys}, inner);
    pass.seconds += to_all(inner, forward ? 3 : 1, in) + to_all(inner, forward ? 1 : 3, out);
    pass.bytes += in + out;
    return pass;
  }

 private:
  double compute(bool forward, double pairs, double heads) const {
    const double flops = (forward ? kForwardFlops : kBackwardFlops) * pairs * heads * static_cast<double>(s_.head_dim);
    return r_.call_seconds + flops / (forward ? r_.forward_flops : r_.backward_flops);
  }
  static double transfer(const LinkRate& link, double messages, double bytes) {
    return messages * link.latency_seconds + bytes / link.bytes_per_second;
  }
  // `bytes` from `size` neighbours, this rank one of them, in that many messages from each.
  double to_all(int size, double messages, double bytes) const {
    if (size == 1) return 0;
    const double inside = std::min(size, per_host_) - 1, others = size - 1, across = others - inside;
    return std::max(transfer(r_.inside, messages * inside, bytes * inside / others),
                    transfer(r_.across, messages * across, bytes * across / others));
  }

  // Rings of `inside` members, `across` of them in a ring; a member has these tokens, and these heads of them.
  struct Rings {
    int inside, across;
    double tokens, pairs, heads, keys;
  };
  // `stride`: how many ranks lie between two members of a ring.
  Pass rings(bool forward, const Rings& x, int stride = 1) const {
    const int hops = x.inside * x.across;
    const double block = 2 * x.tokens * x.keys * row_, sums = forward ? 0 : 2 * x.tokens * x.keys * sum_row_;
    const auto time = [&](int size, int apart, double bytes) {
      if (size == 1 || bytes == 0) return 0.0;
      return transfer(size * apart <= per_host_ ? r_.inside : r_.across, 2, bytes);
    };
    const double c = compute(forward, x.pairs / hops, x.heads);
    const auto ring = [](int size, double work, double keys, double gradients) {
      return work + (size - 1) * std::max(work, keys + gradients) + gradients;
    };
    const double round = ring(x.inside, c, time(x.inside, stride, block), time(x.inside, stride, sums));
    const int apart = stride * x.inside;
    Pass pass = {.seconds = ring(x.across, round, time(x.across, apart, block), time(x.across, apart, sums)),
                 .compute = hops * c, .bytes = (hops - 1) * block};
    if (x.inside > 1) pass.bytes += hops * sums;
    if (x.across > 1) pass.bytes += x.across * sums;
    return pass;
  }

  const AttentionShape& s_;
  const AttentionRates& r_;
  int ranks_, per_host_;
  double tokens_, row_, sum_row_, most_, heads_, keys_;
};

// What is measured scatters by more than this; and the ring needs the least memory.
constexpr double kAsGood = 1.05;

std::string reason_of(const std::vector<SchemeCost>& costs) {
  const SchemeCost& best = costs.front();
  std::string text = fmt::format("{} takes {:.3g} ms forward and backward, {:.3g} ms of it communication that nothing hides",
                                 describe(best.scheme, best.inner), 1e3 * best.seconds(),
                                 1e3 * (best.seconds() - best.compute_seconds));
  if (costs.size() == 1) return text + ", as one rank has nothing to move";
  if (!costs[1].refused.empty()) return text + ", and no other is possible";
  const SchemeCost& next = costs[1];
  text += fmt::format("; the next best, {}, {:.3g} and {:.3g} ms", describe(next.scheme, next.inner), 1e3 * next.seconds(),
                      1e3 * (next.seconds() - next.compute_seconds));
  return next.seconds() < best.seconds() ? text + ", too little less to count" : text;
}

}  // namespace

SchemeCost cost_of(ContextScheme scheme, int inner, const AttentionShape& shape, const AttentionRates& rates) {
  check(shape.num_ranks >= 1 && shape.ranks_per_host >= 1, "{} ranks, {} on a host", shape.num_ranks, shape.ranks_per_host);
  const std::string problem = scheme_problem(scheme, inner, shape.num_ranks, shape.num_heads);
  SchemeCost cost = {.scheme = scheme, .inner = inner, .refused = problem};
  if (!cost.refused.empty()) return cost;
  const Model model(shape, rates);
  const auto pass = [&](bool forward) {
    switch (scheme) {
      case ContextScheme::kRing:
        return model.ring(forward);
      case ContextScheme::kAllToAll:
        return model.exchanged(forward, shape.num_ranks);
      case ContextScheme::kAllGather:
        return model.all_gather(forward);
      case ContextScheme::kHybrid:
        return model.exchanged(forward, inner);
      case ContextScheme::kDoubleRing:
        return model.double_ring(forward, inner);
    }
    return Pass{};
  };
  const Pass forward = pass(true), backward = pass(false);
  cost.forward_seconds = forward.seconds;
  cost.backward_seconds = backward.seconds;
  cost.compute_seconds = forward.compute + backward.compute;
  cost.forward_bytes = static_cast<int64_t>(forward.bytes);
  cost.backward_bytes = static_cast<int64_t>(backward.bytes);
  return cost;
}

SchemeChoice choose_scheme(const AttentionShape& shape, const AttentionRates& rates) {
  SchemeChoice choice;
  for (const auto& [scheme, inner] : schemes_over(shape.num_ranks)) choice.costs.push_back(cost_of(scheme, inner, shape, rates));
  std::stable_sort(choice.costs.begin(), choice.costs.end(), [](const SchemeCost& a, const SchemeCost& b) {
    if (a.refused.empty() != b.refused.empty()) return a.refused.empty();
    return a.refused.empty() && a.seconds() < b.seconds();
  });
  const auto ring = std::ranges::find(choice.costs, ContextScheme::kRing, &SchemeCost::scheme);
  if (ring->seconds() <= kAsGood * choice.best().seconds()) std::rotate(choice.costs.begin(), ring, ring + 1);
  choice.reason = reason_of(choice.costs);
  return choice;
}

}  // namespace longspan
