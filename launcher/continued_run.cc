#include "launcher/continued_run.h"

#include "launcher/config_file.h"
#include "train/checkpoint.h"

namespace longspan {

std::optional<config::RunConfig> continued_configuration(const config::RunConfig& config, Command command) {
  if (command == Command::kVerify || command == Command::kBench) return {};
  int resume = config.checkpoint().resume();
  if (resume == config::Checkpoint::NONE) {
    if (command == Command::kTrain) return {};
    resume = config::Checkpoint::LATEST;  // NONE is about where training begins
  }
  for (const CheckpointFolder& folder : list_checkpoints(config.output_directory())) {
    if (resume != config::Checkpoint::LATEST && folder.step != resume) continue;
    try {
      return parse_config(stored_configuration(folder.path), folder.path, {}).config;
    } catch (const Error&) {
      // Whoever loads the checkpoint says what is wrong with it, and takes an older one.
    }
  }
  return {};
}

}  // namespace longspan
