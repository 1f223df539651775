#include "attention/context_groups.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <tuple>

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

std::string describe(ContextScheme scheme, int inner) {
  return is_grouped(scheme) ? fmt::format("{} in groups of {}", name(scheme), inner) : std::string(name(scheme));
}

bool is_grouped(ContextScheme scheme) { return scheme == ContextScheme::kHybrid || scheme == ContextScheme::kDoubleRing; }

int exchanging_ranks(ContextScheme scheme, int inner, int num_ranks) {
  if (scheme == ContextScheme::kAllToAll) return num_ranks;
  return scheme == ContextScheme::kHybrid ? inner : 1;
}

std::vector<SchemeInGroups> schemes_over(int num_ranks) {
  std::vector<SchemeInGroups> schemes = {{ContextScheme::kRing, 1}};
  if (num_ranks == 1) return schemes;
  schemes.push_back({ContextScheme::kAllToAll, 1});
  schemes.push_back({ContextScheme::kAllGather, 1});
  for (int inner = 2; inner < num_ranks; ++inner) {
    if (num_ranks % inner != 0) continue;
    schemes.push_back({ContextScheme::kHybrid, inner});
    schemes.push_back({ContextScheme::kDoubleRing, inner});
  }
  return schemes;
}

int nearest_inner(int inner, int num_ranks) {
  int nearest = 1;
  for (int divisor = 2; divisor <= num_ranks; ++divisor) {
    if (num_ranks % divisor == 0 && std::abs(divisor - inner) < std::abs(nearest - inner)) nearest = divisor;
  }
  return nearest;
}

int group_of_host(ContextScheme scheme, int num_ranks, int ranks_per_host, int64_t num_heads) {
  const int host = std::clamp(ranks_per_host, 1, num_ranks);
  // Of what can be, the least of: all or one rank rather than some, groups across hosts, the distance from a host.
  std::tuple<bool, bool, int> least = {true, true, num_ranks};
  int best = 1;
  for (int inner = 1; inner <= num_ranks; ++inner) {
    if (num_ranks % inner != 0 || exchanging_ranks(scheme, inner, num_ranks) > num_heads) continue;
    const std::tuple<bool, bool, int> worth = {inner == 1 || inner == num_ranks, host % inner != 0, std::abs(inner - host)};
    if (worth >= least) continue;
    least = worth;
    best = inner;
  }
  return best;
}

std::string scheme_problem(ContextScheme scheme, int inner, int num_ranks, int64_t num_heads) {
  if (is_grouped(scheme) && (inner < 1 || num_ranks % inner != 0)) {
    return fmt::format("{} over {} ranks cannot have groups of {}: the nearest that divides them is {}", name(scheme), num_ranks,
                       inner, nearest_inner(inner, num_ranks));
  }
  const int exchanging = exchanging_ranks(scheme, inner, num_ranks);
  if (exchanging <= std::max<int64_t>(num_heads, 1)) return {};
  const int64_t nearest = is_grouped(scheme) ? group_of_host(scheme, num_ranks, num_ranks, num_heads) : num_heads;
  return fmt::format("{} ranks cannot exchange {} heads, as some would have none: the nearest degree that works is {}",
                     exchanging, num_heads, nearest);
}

}  // namespace longspan
