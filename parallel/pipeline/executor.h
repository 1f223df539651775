// Executor: the one interpreter of programs.
#pragma once

#include <functional>

#include "parallel/pipeline/program.h"
#include "parallel/pipeline/stage_block.h"

namespace longspan {

// Runs a verified program over the stage. `reduce` does the program's REDUCE. Raises what blocks and communicators raise;
// gradients are then partial and the step is lost.
void execute(Context& context, const Program& program, Stage& stage, const std::function<void()>& reduce);

}  // namespace longspan
