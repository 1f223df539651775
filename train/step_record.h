// StepRecord: what one rank computed in the first step of a run, tensor by tensor in the order of computation, as
// doubles, so that runs on different meshes and in different precisions can be laid side by side (train/verify.h).
//
// Of each microbatch: its tokens, targets, rotary angles and gradient scale; the queries, keys and values that attention
// is given, and again where it has them in backward, and what it gives; of rings, the keys and values of every hop; what
// every block gives; the losses; the gradient of every block's input; and what it adds to the gradients of its
// parameters. Of the step: the gradients as they were reduced, their norm, and the loss.
#pragma once

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "attention/kernels/block_attention.h"
#include "model/decoder.h"
#include "parallel/comm/process_mesh.h"
#include "train/observer.h"

namespace longspan {

// Some elements of a parameter.
struct ParameterPart {
  std::string name;
  Box box;
  std::vector<double> values;
};

struct TensorRecord {
  enum class Rows {
    kTokens,      // a row for each token of the rank's share, `width` elements each
    kPieces,      // the same of its piece of the share (parallel/tensor/pieces.h)
    kParameters,  // `parts`: to be summed over the ranks that share the sequence, and those that share the weights
    kNone,        // one number, the same on every rank
  };
  std::string name;  // once in each microbatch, but for keys and values: these once for each hop
  Rows rows = Rows::kTokens;
  int microbatch = 0;
  int64_t order = 0;  // when it was computed
  int hop = 0;        // of keys and values: whose they are, so many places before in the ring
  int64_t width = 1;
  std::vector<TensorPiece> columns = {};  // of the rows that one rank has; none: all
  std::vector<double> values = {};
  std::vector<ParameterPart> parts = {};

  // The order of what comes so many hops later in the same attention.
  int64_t order_at(int later_hop) const { return order + kOrdersOfHop * (later_hop - hop); }
  static constexpr int64_t kOrdersOfHop = 4;
};

struct StepRecord {
  std::vector<TensorRecord> tensors;
  std::map<int, std::shared_ptr<const SequenceLayout>> layouts;  // by microbatch: whose the rows are
  std::vector<ParameterPart> gradients;  // those that the rank keeps, after the reduction
  // The norm of the gradients, which each rank clips by, and the loss, of the global batch; NaN where the step did not come to
  // it.
  double norm = std::numeric_limits<double>::quiet_NaN();
  double loss = std::numeric_limits<double>::quiet_NaN();
};

// Watches a run through the hooks of the trainer, and attention through kernels that are to be those of the run.
class StepRecorder final : public TrainObserver {
 public:
  // The mesh must outlive it.
  explicit StepRecorder(const ProcessMesh& mesh) : mesh_(mesh) {}
  // The same kernels, but watched. The recorder must outlive them.
  std::shared_ptr<const KernelSet> watched(std::shared_ptr<const KernelSet> kernels);

  void on_attention(std::unique_ptr<SequenceAttention>& attention) override;
  void on_model(Decoder& decoder) override;
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
  TensorRecord& add(TensorRecord::Rows rows, std::string name, int microbatch);
  TensorRecord& add_rows(const Context& context, std::string name, int microbatch, const Tensor& tensor);
  void add_piece(const Context& context, std::string name, int microbatch, const Tensor& tensor);
  void add_inputs(const Context& context, int microbatch);
  enum class Heads { kQueries, kKeys };
  // The columns of a row of all heads that the attention of this rank has.
  std::vector<TensorPiece> columns_of(Heads heads) const;
  void add_heads(const Context& context, const char* what, const Tensor& tensor, Heads heads);
  void add_hop(const Context& context, const AttentionBlock& block);
  const Microbatch& batch(int number) const { return decoder_->microbatches().at(static_cast<size_t>(number)); }

  const ProcessMesh& mesh_;
  Decoder* decoder_ = nullptr;
  Pass pass_;  // under way
  int64_t order_ = 0;
  StepRecord record_;
};

}  // namespace longspan
