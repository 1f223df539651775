#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "launcher/doctor/topics.h"
#include "launcher/join.h"

namespace longspan::doctor {
namespace {

bool has(const Facts& facts, const char* instruction) {
  const auto& all = facts.cpu.instructions;
  return std::find(all.begin(), all.end(), instruction) != all.end();
}

// Distinct values over the hosts, each with its first host: "avx2 (node1), avx512 (node2)"; empty if there is only one.
template <class Of>
std::string differing(const Examination& found, const Of& of) {
  std::vector<std::string> texts;
  std::set<std::string> seen;
  for (const Facts& facts : found.ranks) {
    const std::string value = of(facts);
    if (!value.empty() && seen.insert(value).second) texts.push_back(fmt::format("{} ({})", value, facts.host));
  }
  return texts.size() > 1 ? join(texts, ", ") : "";
}

std::optional<Remark> instruction_sets(const Facts& facts) {
  if (facts.cpu.level.empty()) return {};
  std::vector<std::string> absent;
  for (const char* name : {"avx512f", "avx512_bf16", "amx_bf16"}) {
    if (!has(facts, name)) absent.push_back(name);
  }
  const std::string text =
      fmt::format("kernels run {} instructions; the processor has {}{}; oneDNN {}", facts.cpu.level,
                  facts.cpu.instructions.empty() ? "none that matter" : join(facts.cpu.instructions, ", "),
                  absent.empty() ? "" : ", not " + join(absent, ", "), facts.cpu.onednn);
  if (facts.cpu.level == "portable") {
    return Remark{
        Status::kWarning, text,
        "attention runs without vector units, several times slower: use a processor with AVX2, and in a virtual "
        "machine pass the host's CPU through"};
  }
  return Remark{Status::kOk, text, ""};
}

void judge_speed(const Examination& found, Roll& roll) {
  roll.of_ranks(Topic::kMachine, [](const Facts& facts, int) -> std::optional<Remark> {
    if (facts.cpu.gflops <= 0) return {};
    return Remark{Status::kOk, "{} a core in fp32 multiply-adds, all ranks at once", "", facts.cpu.gflops,
                  Unit::kGflops};
  });
  roll.of_ranks(Topic::kMachine, [](const Facts& facts, int) -> std::optional<Remark> {
    if (facts.cpu.copy_gbps <= 0) return {};
    return Remark{Status::kOk, "{} a core when copying memory, read and written, all ranks at once", "",
                  facts.cpu.copy_gbps, Unit::kGigabytesPerSecond};
  });
  const auto slower = [](const Facts& a, const Facts& b) { return a.cpu.gflops < b.cpu.gflops; };
  const auto [slowest, fastest] = std::minmax_element(found.ranks.begin(), found.ranks.end(), slower);
  if (slowest->cpu.gflops <= 0 || slowest->cpu.gflops >= 0.7 * fastest->cpu.gflops) return;
  const auto rank = [&](auto at) { return name_rank(found, static_cast<int>(at - found.ranks.begin())); };
  roll.say(Topic::kMachine, Status::kWarning,
           fmt::format("{} reaches {}, {} reaches {}", rank(slowest), format_amount(slowest->cpu.gflops, Unit::kGflops),
                       rank(fastest), format_amount(fastest->cpu.gflops, Unit::kGflops)),
           "the slowest rank sets the pace of all: look for other work on that host, a low power limit or heat");
}

Remark gpus(const Facts& facts) {
  const bool built = facts.cpu.cuda_gpus != kUnknown;
  const auto of_host = static_cast<double>(facts.cpu.gpus), shown = static_cast<double>(facts.cpu.cuda_gpus);
  if (facts.cpu.gpus == 0 && facts.cpu.cuda_gpus <= 0) {
    return {Status::kOk, built ? "no GPU is visible" : "no GPU is visible; this program is built without CUDA", ""};
  }
  if (!built) {
    return {Status::kNote, "{} NVIDIA GPUs are visible and stay unused: this program is built without CUDA",
            "training runs on the CPUs; to use them, build it where a CUDA toolkit 13 is found", of_host};
  }
  if (facts.cpu.cuda_gpus == 0) {
    return {Status::kWarning, "the host has {} NVIDIA GPUs, but CUDA shows this rank none",
            "see nvidia-smi (a driver for CUDA 13?), CUDA_VISIBLE_DEVICES and the scheduler's options", of_host};
  }
  return {Status::kNote, "{} GPUs for each rank to choose from", "device: CUDA trains on them, AUTO on the CPUs", shown};
}

}  // namespace

void judge_machine(const Examination& found, Roll& roll) {
  roll.of_hosts(Topic::kMachine, [](const Facts& facts, const auto&) -> std::optional<Remark> {
    if (facts.cpu.online < 0 && facts.cpu.model.empty()) return {};
    return Remark{Status::kOk, facts.cpu.model.empty() ? "{} CPUs" : "{} CPUs, " + facts.cpu.model, "",
                  static_cast<double>(facts.cpu.online)};
  });
  roll.of_hosts(Topic::kMachine, [](const Facts& facts, const auto&) { return instruction_sets(facts); });
  const std::string levels = differing(found, [](const Facts& facts) { return facts.cpu.level; });
  const std::string models = differing(found, [](const Facts& facts) { return facts.cpu.model; });
  if (!levels.empty()) {
    roll.say(Topic::kMachine, Status::kWarning, "instruction sets differ: " + levels,
             "results will not repeat to the bit when ranks change places, and the slowest host sets the pace: ask for "
             "hosts of one kind");
  } else if (!models.empty()) {
    roll.say(Topic::kMachine, Status::kWarning, "processors differ: " + models,
             "the slowest host sets the pace, and oneDNN may round differently on each: ask for hosts of one kind");
  }
  const std::string onednn = differing(found, [](const Facts& facts) { return facts.cpu.onednn; });
  if (!onednn.empty()) {
    roll.say(Topic::kMachine, Status::kWarning, "versions of oneDNN differ: " + onednn,
             "results depend on which rank computes what: install the same packages on all hosts");
  }
  judge_speed(found, roll);
  roll.of_hosts(Topic::kMachine, [](const Facts& facts, const auto&) -> std::optional<Remark> { return gpus(facts); });
}

}  // namespace longspan::doctor
