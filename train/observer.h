// TrainObserver: how a run tells whoever watches. Called on every rank; `rank` 0 of the world is the one that prints.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "core/runtime/memory_resource.h"

namespace longspan {

class Context;
class Decoder;
class ParameterSet;
class SequenceAttention;

struct RunFacts {
  int64_t first_step = 1, last_step = 0;  // the steps this process will do, counted from 1
  int64_t tokens_per_step = 0;
  int64_t num_parameters = 0;
  int64_t data_tokens = 0, data_documents = 0;  // one epoch of the training data
};

struct StepReport {
  int64_t step = 0;        // counts from 1
  double loss = 0;         // mean over the predicted tokens of the global batch
  double grad_norm = 0;    // global, before clipping
  double learning_rate = 0;
  int64_t tokens = 0;      // of this step, all ranks
  double model_flop = 0;   // the same: training_flop of model/model_spec.h, over the pairs that queries see
  double mfu = std::numeric_limits<double>::quiet_NaN();  // model_flop over what the ranks' devices could have done
  double step_seconds = 0;
  double exposed_wait_seconds = 0;  // this rank's waiting for the ring; on a device, not a number
  // Where this rank's step_seconds went (train/step_meter.h): these add up to it; hidden communication lies under them. On a
  // device all but data_seconds are not a number.
  double compute_seconds = 0, communication_exposed_seconds = 0, data_seconds = 0, unaccounted_seconds = 0;
  double communication_hidden_seconds = 0;
  double compute_seconds_min = 0, compute_seconds_max = 0;  // over the ranks
  // Between the step before and this one, and no part of it.
  double checkpoint_seconds = 0, evaluation_seconds = 0;
  int64_t peak_memory_bytes = 0;      // this rank's tensors and tables, so far
  int64_t peak_memory_bytes_max = 0;  // over the ranks
  std::array<int64_t, kNumMemoryTags> memory_bytes_by_tag{};  // this rank's at its peak: they add up to it
  double tokens_per_second() const { return step_seconds > 0 ? static_cast<double>(tokens) / step_seconds : 0; }
};

struct EvaluationReport {
  int64_t step = 0;
  double loss = 0, perplexity = 0;
  double bits_per_byte = -1;  // negative where the format does not know its bytes
  int64_t tokens = 0;
};

class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  // Once, before there is a model. It may be wrapped, to watch what goes in and comes out.
  virtual void on_attention(std::unique_ptr<SequenceAttention>&) {}
  virtual void on_start(const RunFacts&) {}
  // Once, when the weights are there and before the first step. Blocks of the stage may be wrapped, to watch what flows.
  virtual void on_model(Decoder&) {}
  // As the reduction left them: not yet looked at, so they may be anything. Of those that ranks share, this rank's parts alone.
  virtual void on_gradients(const Context&, int64_t /*step*/, const ParameterSet&) {}
  virtual void on_gradient_norm(double) {}  // as this rank has it
  virtual void on_step(const StepReport&) {}
  virtual void on_evaluation(const EvaluationReport&) {}
  virtual void on_checkpoint(int64_t /*step*/, const std::string& /*folder*/, double /*seconds*/) {}
  virtual void on_note(const std::string&) {}  // something the user should know
};

}  // namespace longspan
