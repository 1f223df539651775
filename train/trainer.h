// Trainer: next batch, execute the program, reduce, clip, step, log; checkpoints and evaluations between steps.
#pragma once

#include <functional>
#include <memory>

#include "parallel/data/shared_state.h"
#include "train/adamw.h"
#include "train/batch.h"
#include "train/evaluation.h"
#include "train/metrics.h"
#include "train/rank_context.h"
#include "train/step_meter.h"
#include "train/step_program.h"

namespace longspan {

class Trainer {
 public:
  Trainer(const RunSpec& spec, Communicator& world, const RankResources& resources, TrainObserver& observer);
  TrainOutcome run(const std::function<bool()>& stop_requested);

 private:
  struct StepResult {
    StepReport report;
    bool stop = false;  // some rank was asked to stop
  };
  int64_t data_identity() const;
  void resume();
  StepResult step(int64_t step, const std::function<bool()>& stop_requested);
  void compute_gradients(int64_t step);
  // Collective: the loss of the global batch, whether to stop, whether all is finite. Raises on all ranks alike.
  void agree(const std::function<bool()>& stop_requested, StepResult& result);
  void update(StepReport& report);
  void save(int64_t step);
  void evaluate(int64_t step);
  void note(const std::string& text);

  const RunSpec& spec_;
  Communicator& world_;
  TrainObserver& observer_;
  RankContext rank_;
  ProcessMesh mesh_;
  StepMeter meter_;
  Dataset data_;
  std::unique_ptr<SequenceAttention> attention_;
  std::unique_ptr<Evaluator> evaluator_;  // absent: nothing is held out
  PipelineStage stage_;
  Decoder decoder_;
  std::unique_ptr<AdamW> optimizer_;
  BatchLoader loader_;
  std::unique_ptr<StepProgram> program_;
  std::unique_ptr<MetricsWriter> metrics_;  // rank 0 only
  int64_t steps_done_ = 0;
  int64_t saved_step_ = -1;
};

}  // namespace longspan
