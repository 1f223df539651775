// The manifest of a checkpoint, with a checksum that fits, beside 56 bytes of tensors.
#include <span>
#include <vector>

#include "tests/fuzz/contract.h"
#include "train/checkpoint.h"
#include "train/formats/crc32c.h"

namespace longspan {
namespace {

Tensor zeros(const Shape& shape, DType dtype) {
  const auto num_bytes = static_cast<size_t>(shape.num_elements()) * size_bytes(dtype);
  return {std::shared_ptr<void>(std::calloc(num_bytes, 1), std::free), num_bytes, shape, dtype};
}

}  // namespace
}  // namespace longspan

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace longspan;
  static const fuzz::Folder folder;
  static const std::string tensors = folder.write("step_00000002/tensors_00000.bin", std::string(56, '\0'));
  const std::string_view message = fuzz::text_of(data, size);
  const uint32_t crc = crc32c(std::as_bytes(std::span(message)));
  std::string bytes(reinterpret_cast<const char*>(&crc), sizeof crc);
  folder.write("step_00000002/manifest.pb", bytes.append(message));
  const std::vector<NamedTensor> wanted = {{"a", zeros({2, 3}, DType::kFloat32)}, {"b", zeros({4}, DType::kFloat64)}};
  fuzz::holds(ErrorKind::kCheckpoint, fuzz::Lines::kOne, [&] {
    const CheckpointFacts facts = load_checkpoint(folder / "step_00000002", wanted, "a model");
    if (facts.step != 2 || facts.next_sequence < 0) fuzz::finding("facts that cannot be");
  });
  return 0;
}
