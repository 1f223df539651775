#include "parallel/pipeline/executor.h"

#include <map>

namespace longspan {

namespace {

// What an action is called in a trace.
const char* name_of(Action::Kind kind) {
  constexpr const char* kNames[] = {"forward", "backward", "weight", "reduce"};
  return kNames[static_cast<int>(kind)];
}

}  // namespace

void execute(Context& context, const Program& program, Stage& stage, const std::function<void()>& reduce) {
  std::map<int, Tensor> flowing;                       // by microbatch: the activation or gradient between two blocks
  std::map<std::pair<int, int>, std::any> stashes;     // by (microbatch, block)
  for (const Action& action : program) {
    const std::pair<int, int> key{action.microbatch, action.block};
    if (action.kind == Action::Kind::kReduce) {
      const TraceRange range(context.tracer(), TimeCategory::kCommunication, name_of(action.kind));
      reduce();
      continue;
    }
    StageBlock& block = *stage.at(static_cast<size_t>(action.block));
    const TraceRange range(context.tracer(), TimeCategory::kCompute, name_of(action.kind),
                           {.microbatch = action.microbatch, .block = action.block, .layer = block.layer()});
    Tensor& tensor = flowing[action.microbatch];
    switch (action.kind) {
      case Action::Kind::kForward:
        tensor = block.forward(context, action.microbatch, tensor, &stashes[key]);
        break;
      case Action::Kind::kBackwardInput:
        tensor = block.backward_input(context, action.microbatch, tensor, stashes.at(key));
        break;
      case Action::Kind::kBackwardWeight:
        block.backward_weight(context, stashes.at(key));
        stashes.erase(key);
        break;
      case Action::Kind::kReduce:
        break;
    }
  }
}

}  // namespace longspan
