#include "launcher/precision.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "launcher/config_file.h"
#include "train/checkpoint.h"

namespace longspan {

CpuLevel cpu_level_of(const config::RunConfig& config) {
  if (config.cpu().level() == config::Cpu::AUTO) return detect_cpu_level();
  return static_cast<CpuLevel>(config.cpu().level() - config::Cpu::PORTABLE);
}

SettledPrecision choose_precision(CpuLevel slowest, std::optional<config::Precision::Type> continued) {
  using config::Precision;
  const bool multiplies = slowest >= CpuLevel::kAvx512Bf16;
  const Precision::Type faster = multiplies ? Precision::BF16 : Precision::FP32;
  if (continued) {
    std::string note = fmt::format("precision: AUTO is {}, that of the checkpoint", Precision::Type_Name(*continued));
    if (*continued != faster) note += fmt::format("; with these processors {} would be faster", Precision::Type_Name(faster));
    return {*continued, note};
  }
  return {faster, fmt::format("precision: AUTO is {}: {} ({})", Precision::Type_Name(faster),
                              multiplies ? "the processor of every rank multiplies bfloat16"
                                         : "not every rank has a processor that multiplies bfloat16",
                              name(slowest))};
}

std::optional<config::Precision::Type> continued_precision(const config::RunConfig& config, Command command) {
  if (command == Command::kVerify || config.output_directory().empty()) return {};
  const int resume = config.checkpoint().resume();
  if (command == Command::kTrain && resume == config::Checkpoint::NONE) return {};
  for (const CheckpointFolder& folder : list_checkpoints(config.output_directory())) {
    if (command == Command::kTrain && resume != config::Checkpoint::LATEST && folder.step != resume) continue;
    try {
      const auto precision = parse_config(stored_configuration(folder.path), folder.path, {}).config.precision();
      if (precision != config::Precision::AUTO) return precision;
    } catch (const Error&) {
      // Whoever loads the checkpoint says what is wrong with it, and takes an older one.
    }
  }
  return {};
}

std::string settle_precision(config::RunConfig& config, Command command, World& world) {
  if (command == Command::kBench) return {};
  constexpr int64_t kNone = -1;
  int64_t continued = kNone;
  if (world.rank() == 0) {
    if (const auto precision = continued_precision(config, command)) continued = *precision;
  }
  // Ranks of which only some were told AUTO must meet here all the same, to be told so later.
  continued = world.largest(continued);
  const auto slowest = static_cast<CpuLevel>(-world.largest(-static_cast<int64_t>(cpu_level_of(config))));
  if (config.precision() != config::Precision::AUTO) return {};
  const SettledPrecision settled =
      choose_precision(slowest, continued == kNone ? std::nullopt
                                                   : std::optional(static_cast<config::Precision::Type>(continued)));
  config.set_precision(settled.precision);
  return settled.note;
}

}  // namespace longspan
