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

namespace {

bool can_be(ContextScheme scheme, int inner, int num_ranks, int64_t num_heads) {
  return num_ranks % inner == 0 && exchanging_ranks(scheme, inner, num_ranks) <= std::max<int64_t>(num_heads, 1);
}

// Of the groups that can be; of two, the smaller.
int nearest_group(ContextScheme scheme, int inner, int num_ranks, int64_t num_heads) {
  int nearest = 1;
  for (int group = 2; group <= num_ranks; ++group) {
    if (can_be(scheme, group, num_ranks, num_heads) && std::abs(group - inner) < std::abs(nearest - inner)) nearest = group;
  }
  return nearest;
}

}  // namespace

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

int group_of_host(ContextScheme scheme, int num_ranks, int ranks_per_host, int64_t num_heads) {
  const int host = std::clamp(ranks_per_host, 1, num_ranks);
  // Of what can be, the least of: all or one rank rather than some, groups across hosts, the distance from a host.
  std::tuple<bool, bool, int> least = {true, true, num_ranks};
  int best = 1;
  for (int inner = 1; inner <= num_ranks; ++inner) {
    if (!can_be(scheme, inner, num_ranks, num_heads)) continue;
    const std::tuple<bool, bool, int> worth = {inner == 1 || inner == num_ranks, host % inner != 0, std::abs(inner - host)};
    if (worth >= least) continue;
    least = worth;
    best = inner;
  }
  return best;
}

std::string scheme_problem(ContextScheme scheme, int inner, int num_ranks, int64_t num_heads) {
  if (is_grouped(scheme) && (inner < 1 || num_ranks % inner != 0)) {
    const int64_t most = exchanging_ranks(scheme, num_ranks, num_ranks) > num_heads ? num_heads : num_ranks;
    const std::string heads = most < num_ranks ? fmt::format(", with {} heads to exchange,", most) : "";
    return fmt::format("{} over {} ranks cannot have groups of {}: the nearest that divides them{} is {}", name(scheme),
                       num_ranks, inner, heads, nearest_group(scheme, inner, num_ranks, num_heads));
  }
  const int exchanging = exchanging_ranks(scheme, inner, num_ranks);
  if (exchanging <= std::max<int64_t>(num_heads, 1)) return {};
  const int64_t nearest = is_grouped(scheme) ? nearest_group(scheme, inner, num_ranks, num_heads) : num_heads;
  return fmt::format("{} ranks cannot exchange {} heads, as some would have none: the nearest degree that works is {}",
                     exchanging, num_heads, nearest);
}

std::string group_note(ContextScheme scheme, int inner, int num_ranks, int ranks_per_host, int64_t num_heads) {
  if (!is_grouped(scheme) || num_ranks == 1) return {};
  const bool one = inner == 1, all = inner == num_ranks;
  if (!one && !all && ranks_per_host % inner == 0) return {};
  std::string text = fmt::format("context.scheme {}: ", describe(scheme, inner));
  if (one || all) {
    const bool exchanges = all && scheme == ContextScheme::kHybrid;
    text += fmt::format("over {} ranks that is {}", num_ranks, name(exchanges ? ContextScheme::kAllToAll : ContextScheme::kRing));
  } else {
    text += fmt::format("groups lie on several hosts, which have {} neighbours of the context axis each", ranks_per_host);
  }
  const int better = group_of_host(scheme, num_ranks, ranks_per_host, num_heads);
  if (better == inner || better == 1 || better == num_ranks || ranks_per_host % better != 0) return text;
  return text + fmt::format("; context.group_ranks {} has something to do inside a host and across", better);
}

}  // namespace longspan
