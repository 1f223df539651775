#include "launcher/bench_pipeline.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "parallel/pipeline/measure_bubble.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/verifier.h"

namespace longspan {
namespace {

constexpr int kLayersOfRank = 2;
constexpr int64_t kStashBytes = 1 << 20;  // of a layer and a microbatch, or a whole sequence

struct Run {
  PipelineFacts predicted;
  MeasuredBubble measured;
};

Run measure(const PipelineProgram& program, const PipelineCosts& costs, int repetitions) {
  Run run{.predicted = verify_pipeline(program, costs), .measured = {}};
  for (int i = 0; i < repetitions; ++i) {
    MeasuredBubble now = measure_bubble(program, costs);
    if (i == 0 || now.makespan_seconds < run.measured.makespan_seconds) run.measured = std::move(now);
  }
  return run;
}

int64_t predicted_peak(const PipelineFacts& facts) {
  int64_t most = 0;
  for (const RankFacts& rank : facts.ranks) most = std::max(most, rank.peak_stash_bytes);
  return most;
}

std::string compared(const Run& run) {
  const double share = run.predicted.bubble > 0 ? run.measured.bubble / run.predicted.bubble : 1;
  const int64_t peak = *std::max_element(run.measured.peak_stash_bytes.begin(), run.measured.peak_stash_bytes.end());
  return fmt::format("bubble {:>5.1f} % predicted {:>5.1f} % measured, ratio {:.3f}   {:>7.1f} ms predicted {:>7.1f} ms "
                     "measured   stashes {:>6.2f} MiB predicted {:>6.2f} MiB measured\n",
                     100 * run.predicted.bubble, 100 * run.measured.bubble, share, 1e3 * run.predicted.makespan_seconds,
                     1e3 * run.measured.makespan_seconds, static_cast<double>(predicted_peak(run.predicted)) / (1 << 20),
                     static_cast<double>(peak) / (1 << 20));
}

// Of a layer with much attention, which has no gradients by weights.
BlockCosts layer_costs(double forward, double share = 1) {
  return {share * forward, share * 1.5 * forward, share * 0.5 * forward, kStashBytes};
}

void bench_schedules(const BenchPipelineOptions& options, std::ostream& out) {
  for (const int ranks : options.ranks) {
    for (const PipelineSchedule schedule : kPipelineSchedules) {
      const int chunks = schedule == PipelineSchedule::kInterleaved ? kLayersOfRank : 1;
      const std::vector<double> layers(static_cast<size_t>(kLayersOfRank * ranks), 1.0);
      const PipelineShape shape = {.placement = place_blocks(layers, ranks, chunks), .num_microbatches = 2 * ranks};
      const PipelineCosts costs = {.blocks = {layer_costs(options.layer_seconds)}};
      const Run run = measure(make_pipeline_program(schedule, shape, costs), costs, options.repetitions);
      out << fmt::format("{:<11}  {} ranks  {:>2} microbatches  {}", name(schedule), ranks,
                         shape.num_microbatches, compared(run))
          << std::flush;
    }
  }
}

// Chunk j of n has 1/n of the products and of the stash; half of a layer's time is causal attention, of which it has (2j + 1) /
// n^2, as it attends to all before it.
PipelineCosts costs_of_chunks(int num_layers, int num_chunks, double layer_seconds) {
  PipelineCosts costs{.blocks = {}};
  for (int j = 0; j < num_chunks; ++j) {
    const double n = num_chunks, attention = (2 * j + 1) / (n * n);
    BlockCosts chunk = layer_costs(layer_seconds, 0.5 / n + 0.5 * attention);
    chunk.stash_bytes = kStashBytes / num_chunks;
    costs.blocks.insert(costs.blocks.end(), static_cast<size_t>(num_layers), chunk);
  }
  return costs;
}

void bench_sequence_chunks(const BenchPipelineOptions& options, int num_sequences, double layer_seconds,
                           std::ostream& out) {
  const int ranks = *std::max_element(options.ranks.begin(), options.ranks.end()), layers = kLayersOfRank * ranks;
  Run whole;
  for (const int chunks : options.sequence_chunks) {
    const PipelineShape shape = {.placement = place_blocks(std::vector<double>(static_cast<size_t>(layers), 1.0), ranks),
                                 .num_microbatches = chunks * num_sequences,
                                 .sequence_chunks = chunks};
    const PipelineCosts costs = costs_of_chunks(layers, chunks, layer_seconds);
    const PipelineProgram program = make_pipeline_program(PipelineSchedule::kOneForwardOneBackward, shape, costs);
    const Run run = measure(program, costs, options.repetitions);
    if (chunks == options.sequence_chunks.front()) whole = run;
    out << fmt::format(
               "1F1B, {} sequence{} in {:>2} chunks  {} ranks  time of whole sequences {:.3f} predicted {:.3f} measured   {}",
               num_sequences, num_sequences == 1 ? "" : "s", chunks, ranks,
               run.predicted.makespan_seconds / whole.predicted.makespan_seconds,
               run.measured.makespan_seconds / whole.measured.makespan_seconds, compared(run))
        << std::flush;
  }
}

}  // namespace

void bench_pipeline(const BenchPipelineOptions& options, std::ostream& out) {
  for (const int ranks : options.ranks) {
    if (ranks >= 1 && ranks <= 64) continue;
    raise(ErrorKind::kConfiguration, "mesh.pipeline: is {}; bench pipeline runs 1 to 64 threads", ranks);
  }
  out << fmt::format("ranks are threads whose layers sleep: forward {:.3g} ms, gradient by input 1.5 times, by weights half of "
                     "that; the fastest of {} runs\n",
                     1e3 * options.layer_seconds, options.repetitions);
  bench_schedules(options, out);
  bench_sequence_chunks(options, 1, 8 * options.layer_seconds, out);
  const int as_many_as_ranks = *std::max_element(options.ranks.begin(), options.ranks.end());
  bench_sequence_chunks(options, as_many_as_ranks, 2 * options.layer_seconds, out);
}

}  // namespace longspan
