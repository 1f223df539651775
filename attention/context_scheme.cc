#include "attention/context_scheme.h"

#include <limits>

#include "attention/double_ring_attention.h"
#include "attention/exchanged_attention.h"
#include "attention/gathered_attention.h"
#include "attention/ring_attention.h"

namespace longspan {

std::unique_ptr<SequenceAttention> make_sequence_attention(Communicator& ranks, const ContextSchemeOptions& options) {
  const auto [scheme, inner, kv_heads_at_once, scale] = options;
  if (ranks.size() == 1 || scheme == ContextScheme::kRing) return std::make_unique<RingAttention>(ranks, scale);
  if (scheme == ContextScheme::kAllToAll) return std::make_unique<ExchangedAttention>(ranks, scale);
  if (scheme == ContextScheme::kAllGather) return std::make_unique<GatheredAttention>(ranks, scale, kv_heads_at_once);
  const std::string problem = scheme_problem(scheme, inner, ranks.size(), std::numeric_limits<int64_t>::max());
  if (!problem.empty()) raise(ErrorKind::kConfiguration, "{}", problem);
  auto inside = ranks.split(ranks.rank() / inner, ranks.rank(), ranks.name() + " inside");
  auto across = ranks.split(ranks.rank() % inner, ranks.rank(), ranks.name() + " across");
  if (scheme == ContextScheme::kDoubleRing) {
    return std::make_unique<DoubleRingAttention>(std::move(inside), std::move(across), scale);
  }
  return std::make_unique<ExchangedAttention>(std::move(inside),
                                              std::make_unique<RingAttention>(std::move(across), scale));
}

}  // namespace longspan
