// StepRecord: what one rank computed in the first step of a run, tensor by tensor in the order of computation, as doubles, so
// that runs on different meshes and in different precisions can be laid side by side (train/verify.h).
//
// Of each microbatch: its tokens, targets, rotary angles and gradient scale; what every block gives in forward; the losses; the
// gradient of every block's input; and its share in the gradients of the parameters, block by block.
#pragma once

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "train/observer.h"

namespace longspan {

struct TensorRecord {
  enum class Rows {
    kTokens,      // a row for each token of the rank's share; `width` elements each
    kParameters,  // flat, as ParameterSet has them: a share of the gradients, to be summed over the ranks of a sequence
    kNone,        // one number, the same on every rank
  };
  std::string name;
  Rows rows = Rows::kTokens;
  int microbatch = 0;
  int64_t width = 1;
  std::vector<double> values;
};

// Where a parameter lies in the flat gradients.
struct ParameterPlace {
  std::string name;
  Shape shape;
  int64_t begin = 0;
};

struct StepRecord {
  std::vector<TensorRecord> tensors;
  std::vector<ParameterPlace> parameters;
  std::vector<double> gradients;  // flat, after the reduction
  // Of the global batch; NaN where the step did not come to it.
  double loss = std::numeric_limits<double>::quiet_NaN();
};

// Watches a run through the hooks of the trainer.
class StepRecorder final : public TrainObserver {
 public:
  void on_model(Decoder& decoder) override;
  void on_gradients(int64_t step, const ParameterSet& parameters) override;
  void on_step(const StepReport& report) override;

  bool complete() const { return !record_.gradients.empty(); }
  const StepRecord& record() const { return record_; }

 private:
  class WatchedBlock;
  void add(std::string name, TensorRecord::Rows rows, int microbatch, const Tensor& tensor);
  void add_inputs(int microbatch);
  void add_share(const std::string& block, int microbatch);

  Decoder* decoder_ = nullptr;
  std::vector<double> before_;  // the gradients when the last share was taken
  StepRecord record_;
};

}  // namespace longspan
