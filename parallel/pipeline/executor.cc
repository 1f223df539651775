#include "parallel/pipeline/executor.h"

#include <map>

namespace longspan {

void execute(Context& context, const Program& program, Stage& stage, const std::function<void()>& reduce) {
  std::map<int, Tensor> flowing;                       // by microbatch: the activation or gradient between two blocks
  std::map<std::pair<int, int>, std::any> stashes;     // by (microbatch, block)
  for (const Action& action : program) {
    const std::pair<int, int> key{action.microbatch, action.block};
    Tensor& tensor = flowing[action.microbatch];
    switch (action.kind) {
      case Action::Kind::kForward:
        tensor = stage.at(static_cast<size_t>(action.block))->forward(context, action.microbatch, tensor, &stashes[key]);
        break;
      case Action::Kind::kBackwardInput:
        tensor = stage.at(static_cast<size_t>(action.block))
                     ->backward_input(context, action.microbatch, tensor, stashes.at(key));
        break;
      case Action::Kind::kBackwardWeight:
        stage.at(static_cast<size_t>(action.block))->backward_weight(context, stashes.at(key));
        stashes.erase(key);
        break;
      case Action::Kind::kReduce:
        reduce();
        break;
    }
  }
}

}  // namespace longspan
