#include "launcher/bench_step.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/random.h"
#include "launcher/rank_device.h"
#include "parallel/comm/backends.h"
#include "parallel/pipeline/executor.h"
#include "train/adamw.h"
#include "train/batch.h"
#include "train/memory_need.h"

namespace longspan {
namespace {

// One rank that trains on the same random tokens again and again.
class Steps {
 public:
  Steps(const RunSpec& run, Context& context)
      : run_(run), context_(context), ring_(make_self_communicator()), decoder_(run.model, *ring_, run.loss_tile_tokens) {
    decoder_.parameters().materialize(context, ParameterSet::Purpose::kTraining);
    decoder_.parameters().initialize(context, run.seed, run.model.initializer_range);
    optimizer_ = std::make_unique<AdamW>(context, decoder_.parameters(), run.optimizer);
    const RandomStream random(run.seed, "tokens");
    for (int64_t s = 0; s < run.global_batch_sequences; ++s) {
      TokenSequence& sequence = sequences_.emplace_back();
      const int64_t length = run.data.sequence_length;
      sequence.documents = {{.begin = 0, .length = length, .document = s}};
      for (int64_t i = 0; i < length; ++i) {
        sequence.tokens.push_back(static_cast<int32_t>(
            random.below(static_cast<uint64_t>(s * length + i), static_cast<uint64_t>(run.model.vocabulary_size))));
      }
    }
  }
  Steps(const Steps&) = delete;
  Steps& operator=(const Steps&) = delete;

  int64_t num_parameters() { return decoder_.parameters().num_elements(); }

  // What Trainer does, less its data, its messages and its reports.
  void step() {
    decoder_.microbatches().clear();
    decoder_.microbatches().push_back(make_microbatch(context_, run_.model, {}, sequences_));
    Microbatch& batch = decoder_.microbatches().front();
    batch.gradient_scale = 1 / static_cast<double>(std::max<int64_t>(1, batch.num_predicted));
    decoder_.parameters().zero_gradients(context_);
    execute(context_, single_stage_program(1, static_cast<int>(decoder_.stage().size())), decoder_.stage(), [] {});
    const double norm = gradient_norm(context_, decoder_.parameters(), *ring_, *ring_);
    sum_of_losses(context_, batch);
    optimizer_->step(context_, ++steps_done_, run_.optimizer.learning_rate, norm);
  }

 private:
  const RunSpec& run_;
  Context& context_;
  std::unique_ptr<Communicator> ring_;
  Decoder decoder_;
  std::unique_ptr<AdamW> optimizer_;
  std::vector<TokenSequence> sequences_;
  int64_t steps_done_ = 0;
};

void run_dtype(const BenchStepOptions& options, DType dtype, std::ostream& out) {
  const BenchMachine& machine = options.machine;
  RunSpec run = options.run;
  run.compute_dtype = dtype;
  expect_room_for_batch(run, machine.resources.memory_bytes, machine.resources.processor());
  ProductPeak peaks(machine, dtype);
  const double before = peaks.measure();
  Context context = machine.context(dtype);
  Steps steps(run, context);
  const double seconds = Stopwatch(context, [&] { steps.step(); }).seconds_within(options.min_seconds);
  const double peak = std::max(before, peaks.measure());
  const int64_t length = run.data.sequence_length, tokens = run.global_batch_sequences * length;
  const double rate = model_flop_of_step(run.model, run.global_batch_sequences, length) / seconds;
  const double datasheet = dtype == DType::kBFloat16 ? datasheet_peak(machine.name) : 0;
  std::string sheet;
  if (datasheet > 0) {
    sheet = fmt::format(", {:.1f}% of {:.1f} in its data sheet", 100 * rate / datasheet, machine.in_unit(datasheet));
  }
  out << fmt::format("step  {:<8}  {} layers of {}, {:.1f} M parameters, {} x {} tokens: {:.4f} s, {:.0f} tokens/s\n",
                     name(dtype), run.model.num_layers, run.model.hidden_size, 1e-6 * static_cast<double>(steps.num_parameters()),
                     run.global_batch_sequences, length, seconds, static_cast<double>(tokens) / seconds)
      << fmt::format("step  {:<8}  model {}, causal MFU {:.1f}% of {:.1f} measured{}\n", name(dtype), machine.rate_text(rate),
                     100 * rate / peak, machine.in_unit(peak), sheet)
      << std::flush;
}

}  // namespace

double model_flop_of_step(const ModelSpec& model, int64_t num_sequences, int64_t sequence_length) {
  const auto sequences = static_cast<double>(num_sequences), length = static_cast<double>(sequence_length);
  return training_flop(model, sequences * length, sequences * length * (length + 1) / 2);
}

void bench_step(const BenchStepOptions& options, std::ostream& out) {
  const BenchMachine& machine = options.machine;
  expect_measurable(machine, options.min_seconds);
  out << fmt::format("training step, {}; the share is of {}\n", machine.description(),
                     machine.on_cpu() ? "what a core of this machine can multiply from registers"
                                      : fmt::format("a product of {0} x {0}", machine.square))
      << "model operations: 2 for each token and parameter of a product, 4 x head dims for each query and key that it sees; "
         "backward twice forward\n";
  for (const DType dtype : options.dtypes) run_dtype(options, dtype, out);
}

}  // namespace longspan
