// A schedule as text, for people: a row for each rank, time from left to right, F, B and W with their
// microbatch.
//
//   rank 0  F0F1      B0    F2B1  ...   wait 23 %   stashes 2
//
// A cell is as wide as what it shows takes, so that cells below each other happen at the same time; dots are
// waiting. Where a rank holds several chunks, a cell names the chunk of the model after a dot (F0.2); where
// sequences have chunks, it names sequence and chunk (F0:3). B stands for B and W where they go block by
// block. Under the rows stand what the verifier found: the whole pipeline's bubble, and by rank what it keeps
// and moves.
#pragma once

#include <string>

#include "parallel/pipeline/verifier.h"

namespace longspan {

struct DrawOptions {
  int max_columns = 240;  // of time; what comes later is cut, and "..." says so
};

// Of a sound program; raises what verify_pipeline raises.
std::string draw_schedule(const PipelineProgram& program, const PipelineCosts& costs, const DrawOptions& options = {});

}  // namespace longspan
