#include "attention/exchanged_heads.h"

#include <algorithm>

#include "attention/context_groups.h"
#include "core/base/error.h"

namespace longspan {

ExchangedHeads exchanged_heads(int64_t num_heads, int64_t num_kv_heads, int num_ranks) {
  check(num_ranks >= 1 && num_kv_heads >= 1 && num_heads % num_kv_heads == 0, "{} heads, {} of keys, over {} ranks",
        num_heads, num_kv_heads, num_ranks);
  const std::string problem = scheme_problem(ContextScheme::kAllToAll, num_ranks, num_ranks, num_heads);
  if (!problem.empty()) raise(ErrorKind::kConfiguration, "{}", problem);
  const int64_t group = num_heads / num_kv_heads;  // query heads of one key head
  ExchangedHeads split;
  int64_t next_key = 0;  // beyond the last key head that a rank has
  for (int64_t rank = 0; rank < num_ranks; ++rank) {
    const int64_t begin = num_heads * rank / num_ranks, end = num_heads * (rank + 1) / num_ranks;
    std::vector<HeadRange> queries, keys;
    for (int64_t at = begin; at < end;) {
      // Whole groups together; what a rank has of one that it shares by itself.
      const int64_t whole = at % group == 0 ? (end - at) / group * group : 0;
      const int64_t until = whole > 0 ? at + whole : std::min(end, (at / group + 1) * group);
      queries.push_back({at, until});
      keys.push_back({at / group, (until - 1) / group + 1});
      at = until;
    }
    split.replicated |= keys.front().begin < next_key;
    next_key = keys.back().end;
    split.queries.push_back(std::move(queries));
    split.keys.push_back(std::move(keys));
  }
  return split;
}

}  // namespace longspan
