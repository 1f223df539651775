// context.scheme: AUTO, and groups of ranks that nobody named, settled when the ranks have met. A run that goes on keeps the
// scheme that its checkpoint was trained by: schemes sum in other orders, and rates measured again may choose another.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "attention/context_groups.h"
#include "configs/schema/run.pb.h"
#include "launcher/config_support.h"
#include "parallel/comm/communicator.h"

namespace longspan {

struct ContextChoice {
  ContextScheme scheme = ContextScheme::kRing;
  int group_ranks = 1;
  std::string reason;
};

// With AUTO, the scheme and the groups of the checkpoint that this command begins with, if its context axis had as many ranks.
// Raises Error(kCheckpoint) where the folder of the checkpoints cannot be read.
std::optional<config::Context> continued_context(const config::RunConfig& config, Command command);

// Collective. Replaces AUTO, and says in `config` how many ranks a group has; returns a note for the user, which may be empty.
// `ranks_per_host`: neighbours on the context axis that are on one host; `continued` counts on rank 0; `choose` is called, if at
// all, on every rank, and gives all the same.
std::string settle_context(config::RunConfig& config, int ranks_per_host, const std::optional<config::Context>& continued,
                           Communicator& world, const std::function<ContextChoice()>& choose);

// What `longspan verify` proves: the context of the `settled` configuration, and where AUTO was `given`, behind it all else that
// AUTO may take where rates are others. Pure.
std::vector<config::Context> contexts_to_verify(const config::RunConfig& given, const config::RunConfig& settled);

}  // namespace longspan
