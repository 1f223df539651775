// The configuration in text format, through every check to the RunSpec; what resolves reads back as it was printed.
#include "launcher/config_file.h"
#include "launcher/config_spec.h"
#include "tests/fuzz/contract.h"

namespace longspan {
namespace {

void try_command(const LoadedConfig& parsed, Command command) {
  fuzz::holds(ErrorKind::kConfiguration, fuzz::Lines::kMany, [&] {
    LoadedConfig loaded = parsed;
    const auto read_model = [](const std::string&) {
      ModelSpec spec;
      spec.num_heads = 8;
      return spec;
    };
    const ConfigTarget target = {.command = command, .num_ranks = 2, .bench = "ring", .read_model = read_model};
    resolve(loaded, target);
    if (command == Command::kBench) return;
    const std::string text = make_run_spec(loaded.config).resolved_configuration;
    LoadedConfig again = parse_config(text, "again.textproto", {});
    resolve(again, target);
    if (print_config(again.config) != text) fuzz::finding("reads back as another configuration");
  });
}

}  // namespace
}  // namespace longspan

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace longspan;
  fuzz::holds(ErrorKind::kConfiguration, fuzz::Lines::kMany, [&] {
    const LoadedConfig loaded = parse_config(fuzz::text_of(data, size), "run.textproto", {});
    for (const Command command : {Command::kTrain, Command::kEvaluate, Command::kGenerate, Command::kBench}) {
      try_command(loaded, command);
    }
  });
  return 0;
}
