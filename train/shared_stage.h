// SharedStage: the blocks of a stage whose gradients or weights ranks share: each block has them where it needs them, and nobody
// keeps all of them. Blocks themselves know nothing of it.
#pragma once

#include <memory>

#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"
#include "parallel/data/gathered_weights.h"
#include "parallel/pipeline/program.h"

namespace longspan {

class SharedStage {
 public:
  // Wraps the decoder's blocks, where ranks share that much; `blocks`: their numbers in the model, `share`: that of the
  // parameters. What is given must outlive the last run. Collective over the replicas.
  SharedStage(const ProcessMesh& mesh, const std::vector<int>& blocks, Decoder& decoder, const StateShare& share);
  SharedStage(const SharedStage&) = delete;

  // The program that runs next, so that weights are gathered ahead: blocks of the model by number.
  void begin(const Program& program);
  // Its end: the weights go.
  void end();

 private:
  friend class SharedBlock;
  void open_gradients(const Context& context, int block);
  void use(Context& context, int block);
  void after_compute() {
    if (weights_) weights_->after_compute();
  }

  ParameterSet& parameters_;
  std::unique_ptr<Communicator> group_;  // for weights; sums have the replicas' own
  std::unique_ptr<GatheredWeights> weights_;
  std::vector<int> uses_;  // blocks whose weights the program reads, without repetitions
  size_t at_ = 0;
};

}  // namespace longspan
