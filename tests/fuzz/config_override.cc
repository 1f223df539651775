// --set overrides, one a line, on top of a sound configuration.
#include <vector>

#include "launcher/config_file.h"
#include "launcher/config_spec.h"
#include "tests/fuzz/contract.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace longspan;
  std::vector<std::string> overrides;
  std::string_view rest = fuzz::text_of(data, size);
  while (!rest.empty() && overrides.size() < 16) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    overrides.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  constexpr const char* kSound =
      "output_directory: \"out\" data { files: \"text\" } training { steps: 3 } mesh { context: 2 }";
  fuzz::holds(ErrorKind::kConfiguration, fuzz::Lines::kMany, [&] {
    LoadedConfig loaded = parse_config(kSound, "run.textproto", overrides);
    const auto read_model = [](const std::string&) { return ModelSpec{}; };
    resolve(loaded, {.command = Command::kTrain, .num_ranks = 2, .bench = "", .read_model = read_model});
    make_run_spec(loaded.config);
  });
  return 0;
}
