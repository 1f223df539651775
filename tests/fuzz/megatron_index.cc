// A Megatron index beside a .bin of 64 bytes; what opens is read whole, as far as it is not absurdly long.
#include <vector>

#include "tests/fuzz/contract.h"
#include "train/data/token_source.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace longspan;
  static const fuzz::Folder folder;
  static const std::string bin = folder.write("p.bin", std::string(64, '\1'));
  folder.write("p.idx", fuzz::text_of(data, size));
  fuzz::holds(ErrorKind::kData, fuzz::Lines::kOne, [&] {
    const auto source = open_token_source(DataFormat::kMegatron, {bin.substr(0, bin.size() - 4)});
    std::vector<int32_t> out(4096);
    for (int64_t d = 0; d < source->num_documents(); ++d) {
      const int64_t tokens = source->document_tokens(d);
      const auto count = std::min<int64_t>(tokens, static_cast<int64_t>(out.size()));
      source->read(d, 0, count, out.data());
      source->read(d, tokens - count, count, out.data());
    }
  });
  return 0;
}
