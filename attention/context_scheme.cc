#include "attention/context_scheme.h"

#include <cstdlib>

#include "attention/double_ring_attention.h"
#include "attention/exchanged_attention.h"
#include "attention/gathered_attention.h"
#include "attention/ring_attention.h"

namespace longspan {

std::string_view name(ContextScheme scheme) {
  switch (scheme) {
    case ContextScheme::kRing:
      return "RING";
    case ContextScheme::kAllToAll:
      return "ALL_TO_ALL";
    case ContextScheme::kAllGather:
      return "ALL_GATHER";
    case ContextScheme::kHybrid:
      return "HYBRID";
    case ContextScheme::kDoubleRing:
      return "DOUBLE_RING";
  }
  return "?";
}

int nearest_inner(int inner, int num_ranks) {
  int nearest = 1;
  for (int divisor = 2; divisor <= num_ranks; ++divisor) {
    if (num_ranks % divisor == 0 && std::abs(divisor - inner) < std::abs(nearest - inner)) nearest = divisor;
  }
  return nearest;
}

std::unique_ptr<SequenceAttention> make_sequence_attention(Communicator& ranks, const ContextSchemeOptions& options) {
  const auto [scheme, inner, kv_heads_at_once, scale] = options;
  if (ranks.size() == 1 || scheme == ContextScheme::kRing) return std::make_unique<RingAttention>(ranks, scale);
  if (scheme == ContextScheme::kAllToAll) return std::make_unique<ExchangedAttention>(ranks, scale);
  if (scheme == ContextScheme::kAllGather) return std::make_unique<GatheredAttention>(ranks, scale, kv_heads_at_once);
  if (inner < 1 || ranks.size() % inner != 0) {
    raise(ErrorKind::kConfiguration, "{} over {} ranks cannot have groups of {}: the nearest that divides them is {}",
          name(scheme), ranks.size(), inner, nearest_inner(inner, ranks.size()));
  }
  auto inside = ranks.split(ranks.rank() / inner, ranks.rank(), ranks.name() + " inside");
  auto across = ranks.split(ranks.rank() % inner, ranks.rank(), ranks.name() + " across");
  if (scheme == ContextScheme::kDoubleRing) {
    return std::make_unique<DoubleRingAttention>(std::move(inside), std::move(across), scale);
  }
  return std::make_unique<ExchangedAttention>(std::move(inside),
                                              std::make_unique<RingAttention>(std::move(across), scale));
}

}  // namespace longspan
