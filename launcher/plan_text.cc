#include "launcher/plan_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "launcher/join.h"
#include "launcher/system_files.h"
#include "parallel/pipeline/draw_schedule.h"

namespace longspan {
namespace {

constexpr int kColumns = 110;  // of a drawn schedule
constexpr size_t kRows = 16;

std::string bytes_text(double bytes) {
  if (bytes >= 1e12) return fmt::format("{:.1f} TB", bytes / 1e12);
  if (bytes >= 1e9) return fmt::format("{:.1f} GB", bytes / 1e9);
  if (bytes >= 1e6) return fmt::format("{:.1f} MB", bytes / 1e6);
  return fmt::format("{:.1f} kB", bytes / 1e3);
}

std::string plural(int64_t count, const std::string& word) {
  return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
}

// "0-3,8"; of many runs the first ones.
std::string runs_text(const std::vector<int>& numbers) {
  std::string text = format_cpu_list(numbers);
  size_t end = 0;
  for (int runs = 0; runs < 8 && end != std::string::npos; ++runs) end = text.find(',', end + 1);
  return end == std::string::npos ? text : text.substr(0, end) + ", ...";
}

struct Host {
  std::vector<int> places;
};

std::string host_text(const MeshMap& map, int number, const Host& host) {
  std::vector<int> ranks;
  for (const int place : host.places) ranks.push_back(map.rank_at(place));
  std::string text = fmt::format("  host {}: {} {}", number, ranks.size() == 1 ? "rank" : "ranks", runs_text(ranks));
  for (const Axis axis : kAxes) {
    if (map.shape()[axis] == 1) continue;
    std::set<int> at;
    for (const int place : host.places) at.insert(map.coordinates_at(place)[static_cast<size_t>(axis)]);
    text += fmt::format("; {} {}", name(axis), runs_text({at.begin(), at.end()}));
  }
  return text + "\n";
}

std::string axis_text(const MeshMap& map, Axis axis) {
  const int degree = map.shape()[axis], together = map.ranks_per_host(axis);
  std::string where = "on one host";
  if (together < degree) where = together == 1 ? "across hosts" : fmt::format("across hosts, {} neighbours on each", together);
  const bool warns = axis == Axis::kTensor && together < degree;
  return fmt::format("  {:<9}{} ranks, {}{}\n", name(axis), degree, where,
                     warns ? fmt::format(": this axis moves most, lower mesh.tensor to {}", together) : "");
}

std::string blocks_text(const std::vector<int>& blocks, int64_t num_layers) {
  std::vector<std::string> parts;
  std::vector<int> layers;
  for (const int block : blocks) {
    if (block > 0 && block <= num_layers) layers.push_back(block - 1);
  }
  if (blocks.front() == 0) parts.push_back("embedding");
  if (!layers.empty()) parts.push_back(fmt::format("{} {}", layers.size() == 1 ? "layer" : "layers", runs_text(layers)));
  if (blocks.back() == num_layers + 1) parts.push_back("head");
  return join(parts, ", ");
}

// The rows alone: how long a column is, only a rate would say.
std::string rows_of(const StepPipeline& pipeline) {
  const std::string drawn = draw_schedule(pipeline.program, pipeline.costs, {.max_columns = kColumns});
  std::string rows;
  size_t begin = 0;
  for (size_t row = 0; row < std::min(kRows, pipeline.program.ranks.size()); ++row) {
    const size_t end = drawn.find('\n', begin) + 1;
    rows += "  " + drawn.substr(begin, end - begin);
    begin = end;
  }
  return pipeline.program.ranks.size() > kRows ? rows + "  ...\n" : rows;
}

std::string schedule_text(const RunSpec& spec, const StepPipeline& pipeline) {
  const PipelineShape& shape = pipeline.program.shape;
  const int stages = shape.placement.num_ranks;
  const int microbatches = shape.num_microbatches / shape.sequence_chunks;
  constexpr const char* kFieldValues[] = {"GPIPE", "ONE_F_ONE_B", "INTERLEAVED", "ZERO_BUBBLE"};
  std::string text = fmt::format("schedule: {} (pipeline.schedule {}), {} microbatch{}", name(spec.pipeline.schedule),
                                 kFieldValues[static_cast<int>(spec.pipeline.schedule)], microbatches,
                                 microbatches == 1 ? "" : "es");
  if (shape.sequence_chunks > 1) text += fmt::format(" of {} chunks of their sequences", shape.sequence_chunks);
  if (spec.pipeline.chunks_per_stage > 1) text += fmt::format(", {} chunks of blocks a stage", spec.pipeline.chunks_per_stage);
  text += fmt::format(", bubble {:.1f} %\n", 100 * pipeline.facts.bubble);
  for (int stage = 0; stage < stages; ++stage) {
    const RankFacts& facts = pipeline.facts.ranks[static_cast<size_t>(stage)];
    text += fmt::format("  stage {}: {}; at most {} stashes, {}\n", stage,
                        blocks_text(shape.placement.blocks_of(stage), spec.model.num_layers), facts.peak_stashes,
                        bytes_text(static_cast<double>(facts.peak_stash_bytes)));
  }
  return stages == 1 ? text : text + rows_of(pipeline);
}

std::string memory_text(const TrainingNeed& need, int64_t memory_bytes) {
  std::string text = "memory of a rank, at least:\n";
  const auto line = [&](const char* what, double bytes) {
    if (bytes > 0) text += fmt::format("  {:<44}{:>10}\n", what, bytes_text(bytes));
  };
  line("weights, gradients, optimizer", need.weights);
  line("kept for backward", need.kept);
  line("work of one layer, or of a tile of the loss", need.at_work);
  line("keys, values and gradients under way", need.context);
  line("tables of tokens", need.tables);
  return text + fmt::format("  {:<44}{:>10}{}\n", "together", bytes_text(need.total()),
                            memory_bytes > 0 ? " of " + bytes_text(static_cast<double>(memory_bytes))
                                             : std::string("; what there is, is not known"));
}

std::string work_text(const RunSpec& spec, const StepPlan& plan, const PlanRate& rate) {
  const double tokens = static_cast<double>(spec.global_batch_sequences) * static_cast<double>(spec.data.sequence_length);
  std::string text = fmt::format("a step: {:.0f} tokens, {:.3g} FLOP, {:.3g} of a rank\n", tokens, plan.step_flop,
                                 plan.step_flop / spec.mesh.num_ranks());
  if (plan.idle_ranks > 0) {
    text += fmt::format("  {} of the {} ranks of a context axis {} no token of a sequence: lower mesh.context\n", plan.idle_ranks,
                        spec.mesh.context, plan.idle_ranks == 1 ? "has" : "have");
  } else if (plan.imbalance > 1.01) {
    text += fmt::format("  attention is uneven: the rank with most has {:.2f} times the mean{}\n", plan.imbalance,
                        spec.layout == LayoutType::kContiguous || spec.layout == LayoutType::kStriped
                            ? "; context.layout ZIGZAG evens it out"
                            : "");
  }
  if (rate.flop_per_second > 0) {
    text += fmt::format("  at least {:.3g} s: {:.3g} FLOP one after another, bubble included, at {:.3g} FLOP/s, {}; what does "
                        "not reach that, and communication that nothing hides, come on top\n",
                        plan.critical_flop() / rate.flop_per_second, plan.critical_flop(), rate.flop_per_second, rate.from);
  }
  text += "sent by a rank in a step:\n";
  for (const Traffic& traffic : plan.traffic) {
    text += fmt::format("  {:<11}{:<44}{:>10}\n", traffic.group, traffic.what, bytes_text(traffic.bytes));
  }
  return plan.traffic.empty() ? text + "  nothing\n" : text;
}

std::string verdict(const StepPlan& plan, int64_t memory_bytes) {
  if (!plan.problem.empty()) return "does not fit: " + plan.problem + "\n";
  if (memory_bytes == 0) return "whether it fits is not known: plan where the ranks would run\n";
  return fmt::format("fits; on this mesh sequences of up to {} tokens would\n", plan.longest_sequence);
}

}  // namespace

std::string format_mesh_map(const MeshMap& map) {
  constexpr int kMostHosts = 6, kFirst = 3;
  std::vector<Host> hosts(static_cast<size_t>(map.num_hosts()));
  for (int place = 0; place < map.num_ranks(); ++place) hosts[static_cast<size_t>(map.host_at(place))].places.push_back(place);
  std::string text = fmt::format("mesh: {}, {} on {}\n", map.shape().to_string(), plural(map.num_ranks(), "rank"),
                                 plural(map.num_hosts(), "host"));
  for (int number = 0; number < map.num_hosts(); ++number) {
    if (map.num_hosts() > kMostHosts && number == kFirst) {
      text += "  ...\n";
      number = map.num_hosts() - 1;
    }
    text += host_text(map, number, hosts[static_cast<size_t>(number)]);
  }
  for (const Axis axis : kAxes) {
    if (map.shape()[axis] > 1) text += axis_text(map, axis);
  }
  return text;
}

std::string format_plan(const RunSpec& spec, const StepPlan& plan, int64_t memory_bytes, const PlanRate& rate) {
  return format_mesh_map(plan.map) + schedule_text(spec, plan.pipeline) + memory_text(plan.need, memory_bytes) +
         work_text(spec, plan, rate) + verdict(plan, memory_bytes);
}

}  // namespace longspan
