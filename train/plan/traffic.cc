#include "train/plan/traffic.h"

#include <fmt/format.h>

#include <algorithm>

#include "attention/scheme_cost.h"
#include "core/tensor/dtype.h"
#include "parallel/tensor/head_split.h"
#include "train/plan/held_parameters.h"

namespace longspan {

namespace {

double as_double(int64_t value) { return static_cast<double>(value); }
double bytes_of(DType dtype) { return static_cast<double>(size_bytes(dtype)); }
// The part of a whole that goes out where each of so many ranks ends with all of it, or with the sum of its own piece.
double share_sent(int num_ranks) { return as_double(num_ranks - 1) / num_ranks; }

bool holds(const std::vector<int>& blocks, int64_t block) {
  return std::find(blocks.begin(), blocks.end(), static_cast<int>(block)) != blocks.end();
}

class StepTraffic {
 public:
  StepTraffic(const RunSpec& spec, const std::vector<int>& blocks)
      : spec_(spec),
        blocks_(blocks),
        replicas_(spec.mesh.data * spec.mesh.context),
        compute_(bytes_of(spec.compute_dtype)),
        sum_(bytes_of(accumulator(spec.compute_dtype))),
        microbatches_(as_double(spec.global_batch_sequences) /
                      (as_double(spec.mesh.data) * as_double(spec.micro_batch_sequences))),
        tokens_(as_double(spec.data.sequence_length) * as_double(spec.micro_batch_sequences) / spec.mesh.context),
        layers_(as_double(layers_in(spec.model, blocks))) {
    // Where ranks share gradients, these are summed after each microbatch.
    const double times = replicas_ > 1 && spec.sharding >= RunSpec::Sharding::kGradients ? microbatches_ : 1;
    summed_ = times * as_double(parameters_held(spec.model, blocks, spec.mesh.tensor, 0));
    summed_alike_ = times * as_double(parameters_held_alike(spec.model, blocks, spec.mesh.tensor));
  }

  std::vector<Traffic> all(double pipeline_bytes) {
    tensor();
    context();
    add("pipeline", "outputs and gradients between stages", pipeline_bytes);
    replicas();
    tied_table();
    return std::move(traffic_);
  }

 private:
  void add(const char* group, const std::string& what, double bytes) {
    if (bytes > 0) traffic_.push_back({group, what, bytes});
  }

  // Forward gathers what enters the products by columns and sums what the products by rows give; backward the other way round,
  // and gathers once more for each of the four gradients of weights.
  void tensor() {
    const double rows = share_sent(spec_.mesh.tensor) * tokens_ * as_double(spec_.model.hidden_size) * microbatches_;
    add("tensor", "pieces of layers gathered", 8 * layers_ * rows * compute_);
    add("tensor", "pieces of layers summed", 4 * layers_ * rows * sum_);
    const bool embedding = holds(blocks_, 0), head = holds(blocks_, spec_.model.num_layers + 1);
    const double head_bytes = rows * (compute_ + sum_) + (spec_.mesh.tensor - 1) * 3 * tokens_ * sum_ * microbatches_;
    add("tensor", "embedding and head", (embedding ? 2 * rows * compute_ : 0) + (head ? head_bytes : 0));
    add("tensor", "gradients of what ranks hold alike, summed", 2 * share_sent(spec_.mesh.tensor) * summed_alike_ * sum_);
  }

  void context() {
    const ModelSpec& model = spec_.model;
    const HeadSplit split = split_heads(model.num_heads, model.num_kv_heads, spec_.mesh.tensor, 0);
    const AttentionShape shape = {.num_tokens = spec_.data.sequence_length * spec_.micro_batch_sequences,
                                  .num_heads = split.q.size(),
                                  .num_kv_heads = static_cast<int64_t>(split.kv_of.size()),
                                  .head_dim = model.head_dim,
                                  .dtype = spec_.compute_dtype,
                                  .num_ranks = spec_.mesh.context};
    const SchemeCost cost = cost_of(spec_.context.scheme, group_ranks(spec_), shape, {});
    add("context", fmt::format("{}: keys, values and their gradients", name(cost.scheme)),
        as_double(cost.forward_bytes + cost.backward_bytes) * layers_ * microbatches_);
  }

  void replicas() {
    const double sent = share_sent(replicas_);
    const double once = sent * as_double(parameters_held(spec_.model, blocks_, spec_.mesh.tensor, 0));
    using Sharding = RunSpec::Sharding;
    if (spec_.sharding == Sharding::kNone) return add("replicas", "gradients summed", 2 * sent * summed_ * sum_);
    add("replicas", "gradients summed, a piece each", sent * summed_ * sum_);
    if (spec_.sharding < Sharding::kWeights) return add("replicas", "updated weights gathered", once * compute_);
    // Those of the blocks where a step turns stay, which is left out.
    add("weights", "gathered forward and backward, at most",
        2 * once * compute_ * microbatches_ * spec_.pipeline.sequence_chunks);
  }

  // Where the first stage and the last have a table both: what a rank has summed of it.
  void tied_table() {
    if (!holds_half_of_tied_table(spec_.model, blocks_)) return;
    const double rows = as_double(tensor_piece_of(spec_.model.vocabulary_size, spec_.mesh.tensor, 0).size());
    const int keepers = spec_.sharding == RunSpec::Sharding::kNone ? 1 : replicas_;
    add("table", "gradients between first and last stage", rows * as_double(spec_.model.hidden_size) * sum_ / keepers);
  }

  const RunSpec& spec_;
  const std::vector<int>& blocks_;
  int replicas_;
  double compute_, sum_;
  double microbatches_, tokens_, layers_;  // of a step; of a rank in one of them; held
  double summed_ = 0, summed_alike_ = 0;   // elements of gradients, as often as they are summed; of what others hold alike
  std::vector<Traffic> traffic_;
};

}  // namespace

std::vector<Traffic> traffic_of(const RunSpec& spec, const std::vector<int>& blocks, double pipeline_bytes) {
  return StepTraffic(spec, blocks).all(pipeline_bytes);
}

}  // namespace longspan
