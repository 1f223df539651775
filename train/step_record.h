// StepRecord: what one rank computed in the first step of a run, tensor by tensor in the order of computation, as
// doubles, so that runs on different meshes and in different precisions can be laid side by side (train/verify.h).
//
// Of each microbatch: its tokens, targets, rotary angles and gradient scale; the queries, keys and values that attention
// is given, and again where it has them in backward, and what it gives; of rings, the keys and values of every hop; what
// every block gives; the losses; the gradient of every block's input; and its share in the gradients of the parameters,
// block by block. Of the step: the gradients as they were reduced, their norm, and the loss.
#pragma once

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "attention/kernels/block_attention.h"
#include "model/decoder.h"
#include "train/observer.h"

namespace longspan {

struct TensorRecord {
  enum class Rows {
    kTokens,      // a row for each token of the rank's share; `width` elements each
    kParameters,  // a share of the flat gradients, less zeros at both ends; to be summed over the ranks of a sequence
    kNone,        // one number, the same on every rank
  };
  std::string name;  // once in each microbatch, but for keys and values: these once for each owner
  Rows rows = Rows::kTokens;
  int microbatch = 0;
  int owner = 0;      // whose rows these are, by the place in the ring
  int64_t order = 0;  // when it was computed; comparable between ranks, even where one has fewer hops to compute
  int64_t width = 1;
  int64_t begin = 0;  // of a share: where in the gradients `values` begin
  std::vector<double> values;
};

// Where a parameter lies in the flat gradients.
struct ParameterPlace {
  std::string name;
  Shape shape;
  int64_t begin = 0;
};

std::vector<double> flat_share(const TensorRecord& share, size_t num_gradients);

struct StepRecord {
  std::vector<TensorRecord> tensors;
  std::vector<ParameterPlace> parameters;
  std::vector<double> gradients;  // flat, after the reduction
  // The norm of the gradients, which each rank clips by, and the loss, of the global batch; NaN where the step did not come to it.
  double norm = std::numeric_limits<double>::quiet_NaN();
  double loss = std::numeric_limits<double>::quiet_NaN();
};

// Watches a run through the hooks of the trainer, and attention through kernels that are to be those of the run.
class StepRecorder final : public TrainObserver {
 public:
  // The rank's place in its ring.
  explicit StepRecorder(int ring_rank) : ring_rank_(ring_rank) {}
  // The same kernels, but watched. The recorder must outlive them.
  std::shared_ptr<const KernelSet> watched(std::shared_ptr<const KernelSet> kernels);

  void on_attention(std::unique_ptr<SequenceAttention>& attention) override;
  void on_model(Decoder& decoder) override;
  bool wants_gradients() const override { return true; }
  void on_gradients(const Context& context, int64_t step, const ParameterSet& parameters) override;
  void on_gradient_norm(double norm) override { record_.norm = norm; }
  void on_step(const StepReport& report) override;

  bool complete() const { return !record_.gradients.empty(); }
  const StepRecord& record() const { return record_; }

 private:
  class WatchedBlock;
  class WatchedKernel;
  class WatchedAttention;
  struct Pass {
    int microbatch = 0;
    std::string of;  // "model.layers.1 in backward"
  };
  void add(const Context& context, std::string name, TensorRecord::Rows rows, int microbatch, const Tensor& tensor);
  void add_inputs(const Context& context, int microbatch);
  void add_share(const Context& context, const std::string& block, int microbatch);
  void add_heads(const Context& context, const char* what, const Tensor& heads);
  void add_hop(const Context& context, const AttentionBlock& block);

  int ring_rank_;
  Decoder* decoder_ = nullptr;
  Pass pass_;  // under way
  int64_t order_ = 0;
  std::vector<double> before_;  // the gradients when the last share was taken
  StepRecord record_;
};

}  // namespace longspan
