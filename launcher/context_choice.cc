#include "launcher/context_choice.h"

#include <fmt/format.h>

#include <algorithm>

#include "launcher/continued_run.h"
#include "launcher/world.h"

namespace longspan {

namespace {

constexpr int64_t kNone = -1, kGroups = int64_t{1} << 32;  // a scheme and its groups as one number

ContextScheme scheme_of(const config::Context& context) {
  return static_cast<ContextScheme>(static_cast<int>(context.scheme()) - config::Context::RING);
}

// Query heads of the rank with fewest.
int64_t heads_of_a_rank(const config::RunConfig& config) {
  return config.model().num_heads() / std::max<int64_t>(config.mesh().tensor(), 1);
}

void set_scheme(config::Context& context, ContextScheme scheme, int64_t group_ranks) {
  context.set_scheme(static_cast<config::Context::Scheme>(static_cast<int>(scheme) + config::Context::RING));
  context.clear_group_ranks();
  if (is_grouped(scheme)) context.set_group_ranks(group_ranks);
}

}  // namespace

std::optional<config::Context> continued_context(const config::RunConfig& config, Command command) {
  const config::Context& context = config.context();
  const bool asks = context.scheme() == config::Context::AUTO;
  if (!asks && (!is_grouped(scheme_of(context)) || context.group_ranks() > 0)) return {};
  const auto stored = continued_configuration(config, command);
  if (!stored || stored->context().scheme() == config::Context::AUTO) return {};
  if (!asks && stored->context().scheme() != context.scheme()) return {};
  if (stored->mesh().context() != config.mesh().context()) return {};
  const int64_t heads = heads_of_a_rank(config);
  const int group = is_grouped(scheme_of(stored->context())) ? static_cast<int>(stored->context().group_ranks()) : 1;
  const bool works =
      scheme_problem(scheme_of(stored->context()), group, static_cast<int>(config.mesh().context()), heads).empty();
  if (!works) return {};
  return stored->context();
}

std::string settle_context(config::RunConfig& config, int ranks_per_host, const std::optional<config::Context>& continued,
                           Communicator& world, const std::function<ContextChoice()>& choose) {
  config::Context& context = *config.mutable_context();
  const bool asks = context.scheme() == config::Context::AUTO;
  const int64_t mine = world.rank() == 0 && continued ? continued->scheme() * kGroups + continued->group_ranks() : kNone;
  const int64_t found = largest_of_ranks(world, mine);
  // Ranks of which only some were told AUTO are told so where all compare their configurations.
  const bool all_ask = largest_of_ranks(world, asks ? 0 : 1) == 0;
  std::string note;
  if (asks && all_ask) {
    ContextChoice choice;
    if (found != kNone) {
      choice = {.scheme = static_cast<ContextScheme>(found / kGroups - config::Context::RING),
                .group_ranks = static_cast<int>(found % kGroups),
                .reason = "that of the checkpoint"};
    } else {
      choice = choose();
    }
    set_scheme(context, choice.scheme, choice.group_ranks);
    note = fmt::format("context.scheme: AUTO is {}{}{}", describe(choice.scheme, choice.group_ranks),
                       found == kNone ? ": " : ", ", choice.reason);
  }
  if (context.scheme() == config::Context::AUTO || (asks && context.group_ranks() > 0)) return note;
  const auto scheme = scheme_of(context);
  if (!is_grouped(scheme)) return note;
  const auto ranks = static_cast<int>(config.mesh().context());
  const int64_t heads = heads_of_a_rank(config);
  if (context.group_ranks() == 0) {
    const bool continues = found != kNone && found / kGroups == context.scheme();
    set_scheme(context, scheme, continues ? found % kGroups : group_of_host(scheme, ranks, ranks_per_host, heads));
  }
  return group_note(scheme, static_cast<int>(context.group_ranks()), ranks, ranks_per_host, heads);
}

std::vector<config::Context> contexts_to_verify(const config::RunConfig& given, const config::RunConfig& settled) {
  std::vector<config::Context> contexts = {settled.context()};
  if (given.context().scheme() != config::Context::AUTO) return contexts;
  const int num_ranks = static_cast<int>(settled.mesh().context());
  const int64_t heads = heads_of_a_rank(settled);
  for (const auto& [scheme, inner] : schemes_over(num_ranks)) {
    config::Context context = settled.context();
    set_scheme(context, scheme, inner);
    const bool is_new = context.SerializeAsString() != settled.context().SerializeAsString();
    if (is_new && scheme_problem(scheme, inner, num_ranks, heads).empty()) contexts.push_back(context);
  }
  return contexts;
}

}  // namespace longspan
