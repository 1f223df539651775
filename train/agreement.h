// Checks that all ranks were given the same: each reads the configuration and lists the data files itself, and a file that one
// host lacks, or an old copy on a local disk, would make ranks compute different things without an error. And that they end alike
// where rank 0 alone reads for all.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/nn/parameter.h"
#include "parallel/comm/communicator.h"
#include "parallel/pipeline/program.h"
#include "train/data/dataset.h"
#include "train/observer.h"
#include "train/run_spec.h"

namespace longspan {

// Collective. Raise Error(kConfiguration) or Error(kData) on every rank where one differs.
void agree_on_configuration(const Context& context, Communicator& world, const RunSpec& spec);
// `field` is where the data are named, for the message.
void agree_on_data(const Context& context, Communicator& world, const Dataset& data, const char* field);

// That all ranks have planned the same for all stages: what one does, another one waits for. Raises Error(kInternal) on all.
void agree_on_programs(const Context& context, Communicator& world, const std::vector<Program>& programs);

// Collective: runs `body`, which must not communicate, on every rank, or on rank 0 alone. What it raises on one of them (of
// several, the lowest, which is named) every rank raises as an Error of one kind in the same words, instead of waiting for a rank
// that is gone.
void on_every_rank(const Context& context, Communicator& world, const std::function<void()>& body);
void on_rank_zero(const Context& context, Communicator& world, const std::function<void()>& body);

// Collective: rank 0's text.
std::string text_of_rank_zero(const Context& context, Communicator& world, const std::string& text);
// Collective: the texts of all ranks, in their order, on each.
std::vector<std::string> texts_of_ranks(const Context& context, Communicator& world, const std::string& text);

// Collective. Raises Error(kNumerical) about a step whose loss, or whose gradient norm on some rank, is not finite, and names the
// first parameter with such a gradient, of the first rank that has one.
[[noreturn]] void refuse_not_finite(const Context& context, Communicator& world, const RunSpec& spec, const StepReport& report,
                                    const ParameterSet& parameters);

}  // namespace longspan
