#include "train/trainer.h"

#include <chrono>
#include <cmath>

#include "train/agreement.h"
#include "train/check_mesh.h"
#include "train/formats/crc32c.h"
#include "train/gradient_file.h"
#include "train/memory_need.h"
#include "train/model_state.h"
#include "train/schedule.h"

namespace longspan {

Trainer::Trainer(const RunSpec& spec, Communicator& world, const RankResources& resources, TrainObserver& observer)
    : spec_(spec),
      world_(world),
      observer_(observer),
      rank_(spec.compute_dtype, resources, RankContext::Measure::kTime),
      mesh_(world, spec.mesh),
      meter_(spec, rank_, mesh_, observer, spec.compute_dtype == DType::kBFloat16 ? resources.peak_flop_per_second : 0),
      data_(open_dataset(spec.data, spec.seed, spec.model.vocabulary_size, Order::kShuffled)),
      attention_(make_attention(rank_.context(), spec, mesh_, observer)),
      stage_(spec, mesh_),
      decoder_(spec.model, {.attention = *attention_, .tensor = mesh_.axis(Axis::kTensor)}, spec.loss_tile_tokens,
               stage_.blocks()),
      loader_(spec, data_, mesh_) {
  if (spec.evaluation.data) evaluator_ = std::make_unique<Evaluator>(rank_.context(), spec, mesh_);
  check_weights(rank_.context(), spec, mesh_);
  on_every_rank(rank_.context(), world, [&] {
    expect_room_for_parameters(decoder_.parameters().num_elements(), training_bytes_per_parameter(spec), resources.memory_bytes);
    expect_room_for_batch(spec, resources.memory_bytes, resources.processor());
  });
  stage_.share_state(mesh_, decoder_, state_share(spec, mesh_));
  program_ = std::make_unique<StepProgram>(rank_.context(), spec, mesh_, stage_, decoder_);  // for whose actions there is room
  agree_on_data(rank_.context(), world, data_, "data.files");
  data_.refuse_repetition(spec.data);
  if (const int64_t skipped = data_.num_skipped_files() + data_.num_empty_files(); skipped > 0) {
    note(fmt::format("{} files in the data folders are empty or cannot be read; they are left out", skipped));
  }
  decoder_.parameters().materialize(rank_.context(), ParameterSet::Purpose::kTraining, state_share(spec, mesh_));
  optimizer_ = std::make_unique<AdamW>(rank_.context(), decoder_.parameters(), spec.optimizer);
}

void Trainer::note(const std::string& text) {
  if (world_.rank() == 0) observer_.on_note(text);
}

void Trainer::resume() {
  on_rank_zero(rank_.context(), world_, [&] {
    if (spec_.checkpoint.resume != CheckpointSpec::Resume::kStep) return;
    const auto folders = list_checkpoints(spec_.output_directory);
    if (!folders.empty() && folders.front().step > spec_.checkpoint.resume_step) {
      // Started again, as after a requeue, the run would go back to that step each time.
      raise(ErrorKind::kCheckpoint, "checkpoint.resume: {} is not the newest: move {} away to go back to it, or use LATEST",
            spec_.checkpoint.resume_step, folders.front().path);
    }
  });
  const StateTensors state = checkpoint_tensors(rank_.context(), decoder_.parameters(), optimizer_.get());
  const auto facts = load_newest(rank_.context(), spec_, mesh_, state, observer_);
  if (!facts) {
    initialize_weights(rank_.context(), spec_, mesh_, decoder_.parameters());
    return;
  }
  refresh_values(rank_.context(), mesh_, decoder_.parameters());
  steps_done_ = saved_step_ = facts->step;
  note(fmt::format("continues after step {}", facts->step));
  loader_.continue_at(facts->next_sequence, facts->step + 1);
  if (facts->data_fingerprint != data_identity()) {
    note(fmt::format("the data, their order or the length of a sequence have changed since the checkpoint: sequence {} of "
                     "today's data comes next",
                     facts->next_sequence));
  }
  if (!spec_.dump_gradients.empty()) note("training.dump_gradients: only a run that begins at step 1 writes them");
}

// What gives sequence number n its tokens.
int64_t Trainer::data_identity() const {
  std::string text = fmt::format("{} {} {} {}", data_.fingerprint(), spec_.seed, spec_.data.sequence_length,
                                 static_cast<int>(spec_.data.packing));
  for (const DataSource& source : spec_.data.sources) text += fmt::format(" {}", source.weight);
  return crc32c(std::as_bytes(std::span(text)));
}

TrainOutcome Trainer::run(const std::function<bool()>& stop_requested) {
  resume();
  observer_.on_model(decoder_);
  if (world_.rank() == 0) metrics_ = std::make_unique<MetricsWriter>(spec_, steps_done_);
  observer_.on_start({.first_step = steps_done_ + 1, .last_step = spec_.num_steps,
                      .tokens_per_step = spec_.global_batch_sequences * spec_.data.sequence_length,
                      .num_parameters = num_parameters(spec_.model),
                      .data_tokens = data_.total_tokens(),
                      .data_documents = data_.num_documents()});
  meter_.start(steps_done_ + 1, spec_.num_steps, program_->num_actions());
  bool stop = false;
  while (steps_done_ < spec_.num_steps && !stop) {
    const StepResult result = step(steps_done_ + 1, stop_requested);
    ++steps_done_;
    stop = result.stop;
    observer_.on_step(result.report);
    if (metrics_) metrics_->write(result.report);
    const bool last = steps_done_ == spec_.num_steps;
    const auto due = [&](int64_t interval) { return interval > 0 && steps_done_ % interval == 0; };
    if (evaluator_ && !stop && due(spec_.evaluation.interval_steps)) evaluate(steps_done_);
    if (last || stop || due(spec_.checkpoint.interval_steps)) save(steps_done_);
    meter_.close(steps_done_, last || stop ? TraceRecorder::Run::kEnds : TraceRecorder::Run::kGoesOn);
  }
  return stop && steps_done_ < spec_.num_steps ? TrainOutcome::kStopped : TrainOutcome::kDone;
}

Trainer::StepResult Trainer::step(int64_t step, const std::function<bool()>& stop_requested) {
  StepResult result{.report = {.step = step}};
  meter_.begin(step);
  compute_gradients(step);
  agree(stop_requested, result);
  update(result.report);
  meter_.end(result.report);
  return result;
}

void Trainer::compute_gradients(int64_t step) {
  Context& context = rank_.context();
  decoder_.microbatches() = loader_.load(context, step);
  if (const std::string text = program_->run(context); !text.empty()) note(text);
  observer_.on_gradients(context, step, decoder_.parameters());
}

void Trainer::agree(const std::function<bool()>& stop_requested, StepResult& result) {
  Context& context = rank_.context();
  const TraceRange range(context.tracer(), TimeCategory::kCompute, "losses");
  StepReport& report = result.report;
  report.grad_norm = gradient_norm(context, decoder_.parameters(), mesh_.replicas(), mesh_.parts());
  observer_.on_gradient_norm(report.grad_norm);
  // Losses; ranks asked to stop; ranks whose norm is not finite, which may be one alone where memory or a network errs; pairs
  // of queries and keys. Those of a microbatch are told where the head is.
  const Context& host = context.host();
  const Tensor sums = host.zeros({4}, DType::kFloat64, MemoryTag::kWorkspace);
  auto* s = sums.data<double>();
  for (const Microbatch& batch : decoder_.microbatches()) {
    s[0] += sum_of_losses(context, batch) * batch.gradient_scale;
    if (decoder_.has_head()) s[3] += static_cast<double>(batch.num_pairs);
  }
  s[1] = stop_requested() ? 1 : 0;
  s[2] = std::isfinite(report.grad_norm) ? 0 : 1;
  mesh_.replicas().all_reduce(host.stream(), sums, ReduceOp::kSum);
  mesh_.axis(Axis::kPipeline).all_reduce(host.stream(), sums, ReduceOp::kSum);
  mesh_.axis(Axis::kTensor).all_reduce(host.stream(), sums, ReduceOp::kMax);  // which have the same losses
  decoder_.microbatches().clear();
  report.loss = s[0];
  result.stop = s[1] > 0;
  report.tokens = spec_.global_batch_sequences * spec_.data.sequence_length;
  report.model_flop = training_flop(spec_.model, static_cast<double>(report.tokens), s[3]);
  if (!std::isfinite(report.loss) || s[2] > 0) refuse_not_finite(context, world_, spec_, report, decoder_.parameters());
}

void Trainer::update(StepReport& report) {
  Context& context = rank_.context();
  const TraceRange range(context.tracer(), TimeCategory::kCompute, "optimizer");
  report.learning_rate = learning_rate(spec_.optimizer, report.step, spec_.num_steps);
  if (report.step == 1 && !spec_.dump_gradients.empty()) {
    dump_gradients(context, mesh_, spec_.model, decoder_.parameters(), spec_.dump_gradients);
  }
  optimizer_->step(context, report.step, report.learning_rate, report.grad_norm);
  share_values(context, mesh_.replicas(), decoder_.parameters());
}

void Trainer::save(int64_t step) {
  if (spec_.output_directory.empty() || saved_step_ == step) return;
  const TraceRange range(rank_.context().tracer(), TimeCategory::kCheckpoint, "checkpoint", {.step = step});
  const auto begin = std::chrono::steady_clock::now();
  const CheckpointFacts facts = {.step = step,
                                 .next_sequence = loader_.first_sequence(step + 1),
                                 .data_fingerprint = data_identity(),
                                 .seed = spec_.seed,
                                 .model = to_string(spec_.model),
                                 .configuration = spec_.resolved_configuration};
  const StateTensors state = checkpoint_tensors(rank_.context(), decoder_.parameters(), optimizer_.get());
  const std::string folder = longspan::save(rank_.context(), spec_, mesh_, facts, state);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  if (world_.rank() == 0) observer_.on_checkpoint(step, folder, taken.count());
  saved_step_ = step;
}

void Trainer::evaluate(int64_t step) {
  const TraceRange range(rank_.context().tracer(), TimeCategory::kEvaluation, "evaluation", {.step = step});
  EvaluationReport report = evaluator_->run(rank_.context(), stage_, decoder_).report;
  report.step = step;
  observer_.on_evaluation(report);
  if (metrics_) metrics_->write(report);
}

TrainOutcome train(const RunSpec& spec, Communicator& world, const RankResources& resources, TrainObserver& observer,
                   const std::function<bool()>& stop_requested) {
  check_mesh(spec, world.size());
  return Trainer(spec, world, resources, observer).run(stop_requested);
}

}  // namespace longspan
