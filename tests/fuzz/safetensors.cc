// A safetensors file; what opens is read whole.
#include <vector>

#include "tests/fuzz/contract.h"
#include "train/formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace longspan;
  static const fuzz::Folder folder;
  const std::string path = folder.write("model.safetensors", fuzz::text_of(data, size));
  fuzz::holds(ErrorKind::kCheckpoint, fuzz::Lines::kOne, [&] {
    const SafetensorsFile file(path);
    for (const std::string& name : file.names()) {
      const auto num_bytes = static_cast<int64_t>(file.info(name).bytes.size());
      fuzz::holds(ErrorKind::kCheckpoint, fuzz::Lines::kOne, [&] {
        const int64_t count = file.info(name).dtype == "F64" ? num_bytes / 8 : file.info(name).dtype == "F32" ? num_bytes / 4
                                                                                                            : num_bytes / 2;
        std::vector<double> out(static_cast<size_t>(count));
        file.read_elements(name, 0, count, DType::kFloat64, out.data());
      });
      fuzz::holds(ErrorKind::kCheckpoint, fuzz::Lines::kOne, [&] {
        std::vector<float> out(6);
        file.read(name, {2, 3}, DType::kFloat32, out.data());
      });
    }
  });
  return 0;
}
