// Puts the messages into programs that only compute; the same for all schedules.
//
// What a neighbouring rank reads is sent as soon as it is computed. A receive is posted in the order in which
// the peer sends, before the rank begins what it does before it (another microbatch, or the other direction,
// or another chunk), so that it is under way meanwhile; earlier only where nobody could go on if sends had no
// buffer.
#pragma once

#include "parallel/pipeline/pipeline_program.h"

namespace longspan {

PipelineProgram insert_communication(const PipelineShape& shape, const std::vector<Program>& compute);

}  // namespace longspan
