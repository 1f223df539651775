// The examination: rank 0 gathers the facts of all ranks, then tells them, one pair after another, what to measure.
//
// One rank of each host takes part between hosts: all pairs of up to 16 hosts, one at a time; with more hosts a ring
// and its diameters, many pairs at once. Then two ranks within each host, the clocks, and the ring of all ranks.
// Whoever does not answer is named in `silences`, and nothing more is measured: the caller is to end the run.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "launcher/doctor/facts.h"
#include "parallel/comm/communicator.h"

namespace longspan::doctor {

// Collective. `look` finds the facts of this process; it is called once all ranks have said which host they are on. On
// ranks other than 0 the result has the facts of this rank alone.
using Look = std::function<Facts()>;
Examination examine(Communicator& world, const std::string& host, const Look& look);

// The ranks of each host, in the order of their first ranks.
std::vector<std::vector<int>> ranks_of_hosts(const std::vector<Facts>& ranks);

// Disjoint pairs measured at the same time, round after round; `members` has one rank of each host.
using Round = std::vector<std::pair<int, int>>;
std::vector<Round> rounds_between(const std::vector<int>& members);

}  // namespace longspan::doctor
