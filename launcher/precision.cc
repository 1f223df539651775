#include "launcher/precision.h"

#include <fmt/format.h>

#include "launcher/continued_run.h"
#include "launcher/world.h"

namespace longspan {

CpuLevel cpu_level_of(const config::RunConfig& config) {
  if (config.cpu().level() == config::Cpu::AUTO) return detect_cpu_level();
  return static_cast<CpuLevel>(config.cpu().level() - config::Cpu::PORTABLE);
}

SettledPrecision choose_precision(config::RunConfig::Device device, CpuLevel slowest,
                                  std::optional<config::Precision::Type> continued) {
  using config::Precision;
  const bool on_gpus = device == config::RunConfig::CUDA;
  const bool multiplies = on_gpus || slowest >= CpuLevel::kAvx512Bf16;
  const Precision::Type faster = multiplies ? Precision::BF16 : Precision::FP32;
  if (continued) {
    std::string note = fmt::format("precision: AUTO is {}, that of the checkpoint", Precision::Type_Name(*continued));
    if (*continued != faster) note += fmt::format("; with these processors {} would be faster", Precision::Type_Name(faster));
    return {*continued, note};
  }
  if (on_gpus) return {faster, "precision: AUTO is BF16, which GPUs multiply"};
  return {faster, fmt::format("precision: AUTO is {}: {} ({})", Precision::Type_Name(faster),
                              multiplies ? "the processor of every rank multiplies bfloat16"
                                         : "not every rank has a processor that multiplies bfloat16",
                              name(slowest))};
}

std::optional<config::Precision::Type> continued_precision(const config::RunConfig& config, Command command) {
  if (config.precision() != config::Precision::AUTO) return {};
  const auto stored = continued_configuration(config, command);
  if (!stored || stored->precision() == config::Precision::AUTO) return {};
  return stored->precision();
}

SettledChoices settle_choices(config::RunConfig& config, Command command, CpuLevel own,
                              std::optional<config::Precision::Type> continued, Communicator& world) {
  constexpr int64_t kNone = -1;
  // Ranks of which only some were told AUTO must meet here all the same, to be told so later.
  const int64_t mine = world.rank() == 0 && continued ? int64_t{*continued} : kNone;
  const int64_t found = largest_of_ranks(world, mine);
  const auto fastest = static_cast<CpuLevel>(largest_of_ranks(world, static_cast<int64_t>(own)));
  const auto slowest = static_cast<CpuLevel>(-largest_of_ranks(world, -static_cast<int64_t>(own)));
  SettledChoices settled{.cpu_level = own, .notes = {}};
  if (config.cpu().level() == config::Cpu::AUTO) {
    settled.cpu_level = slowest;
    if (slowest != fastest) {
      settled.notes.push_back(fmt::format("cpu.level: AUTO is {}, the fastest that every rank runs; some could run {}",
                                          name(slowest), name(fastest)));
    }
  }
  if (config.precision() != config::Precision::AUTO || command == Command::kBench) return settled;
  std::optional<config::Precision::Type> kept;
  if (found != kNone) kept = static_cast<config::Precision::Type>(found);
  const SettledPrecision precision = choose_precision(config.device(), slowest, kept);
  config.set_precision(precision.precision);
  settled.notes.push_back(precision.note);
  return settled;
}

}  // namespace longspan
