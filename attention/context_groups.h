// The schemes by name, and the groups of neighbouring ranks that some of them have. Pure functions, for whoever plans a run and
// computes nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace longspan {

enum class ContextScheme { kRing, kAllToAll, kAllGather, kHybrid, kDoubleRing };
std::string_view name(ContextScheme scheme);
// "HYBRID in groups of 2"; the others by name.
std::string describe(ContextScheme scheme, int inner);

// Whether it has groups, `inner` ranks in each.
bool is_grouped(ContextScheme scheme);
// How many ranks exchange heads with each other: none may have fewer heads than that.
int exchanging_ranks(ContextScheme scheme, int inner, int num_ranks);

// All that so many ranks may choose from, whatever the heads are: every scheme, and of those with groups every size that leaves
// something to do inside and across. RING comes first.
struct SchemeInGroups {
  ContextScheme scheme = ContextScheme::kRing;
  int inner = 1;
};
std::vector<SchemeInGroups> schemes_over(int num_ranks);

// The groups that nobody named: the ranks of a host, which are neighbours. They divide the ranks, so they may be fewer; where
// they can, they cross no host, and are more than one rank and not all of them, so that there is something to do inside and
// across. HYBRID's are no larger than the heads of a rank.
int group_of_host(ContextScheme scheme, int num_ranks, int ranks_per_host, int64_t num_heads);

// Why the scheme cannot be, with the nearest degree that can; empty where it can. `num_heads`: query heads of the rank with
// fewest.
std::string scheme_problem(ContextScheme scheme, int inner, int num_ranks, int64_t num_heads);

// What groups that can be do not do: those of one rank or of all have nothing inside or across, and those that lie on several
// hosts send across them what they were to keep inside. With the groups that would, if there are any; empty where all is well.
std::string group_note(ContextScheme scheme, int inner, int num_ranks, int ranks_per_host, int64_t num_heads);

}  // namespace longspan
