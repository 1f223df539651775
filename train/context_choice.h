// context.scheme: AUTO: which scheme serves a run, by a model of costs and measured rates.
#pragma once

#include "attention/scheme_cost.h"
#include "train/run_spec.h"
#include "train/train.h"

namespace longspan {

// What attention of a layer has to do for a microbatch, as far as it is known before there are data: each sequence one document.
// `ranks_per_host`: neighbours on the context axis that are on one host.
AttentionShape attention_shape(const RunSpec& spec, int ranks_per_host);

// Collective over `world`, all of whose ranks get the same choice. Measures, if the context axis has several ranks; whatever
// spec.context says. What would not fit the memory of the rank with least is not taken, where something fits.
SchemeChoice choose_context_scheme(const RunSpec& spec, Communicator& world, const RankResources& resources, int ranks_per_host);

}  // namespace longspan
