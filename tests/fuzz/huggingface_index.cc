// model.safetensors.index.json beside a sound shard.
#include <vector>

#include "tests/fuzz/contract.h"
#include "train/formats/huggingface.h"
#include "train/formats/safetensors.h"

namespace longspan {
namespace {

void write_shard(const std::string& path) {
  const std::vector<float> values = {1, 2};
  std::vector<SafetensorsEntry> entries;
  for (const char* name : {"a", "b"}) {
    entries.push_back({.name = name, .dtype = DType::kFloat32, .shape = {2}, .data = values.data()});
  }
  write_safetensors(path, entries);
}

}  // namespace
}  // namespace longspan

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace longspan;
  static const fuzz::Folder folder;
  static const bool shard = (write_shard(folder / "good.safetensors"), true);
  folder.write("model.safetensors.index.json", fuzz::text_of(data, size));
  fuzz::holds(ErrorKind::kCheckpoint, fuzz::Lines::kOne, [&] {
    const HuggingFaceWeights weights(folder / "");
    float values[2];
    for (const std::string& name : weights.names()) weights.read(name, {2}, DType::kFloat32, values);
  });
  return shard ? 0 : 1;
}
