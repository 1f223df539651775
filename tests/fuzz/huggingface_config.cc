// config.json of a Hugging Face folder, through the checks of an imported model.
#include "launcher/config_file.h"
#include "launcher/config_spec.h"
#include "tests/fuzz/contract.h"
#include "train/formats/huggingface.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace longspan;
  constexpr const char* kRun =
      "output_directory: \"out\" data { files: \"text\" format: TOKENS_U16 } model { from_huggingface: \"m\" }";
  fuzz::holds(ErrorKind::kCheckpoint, fuzz::Lines::kOne, [&] {
    LoadedConfig loaded = parse_config(kRun, "run.textproto", {});
    const auto read_model = [&](const std::string&) {
      return parse_huggingface_config(std::string(fuzz::text_of(data, size)), "m/config.json").spec;
    };
    resolve(loaded, {.command = Command::kTrain, .num_ranks = 1, .bench = "", .read_model = read_model});
    make_run_spec(loaded.config);
  });
  return 0;
}
