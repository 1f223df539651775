// metrics.jsonl of an earlier run, which a run that resumes shortens and goes on with.
#include "tests/fuzz/contract.h"
#include "train/formats/json_lines.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace longspan;
  static const fuzz::Folder folder;
  const std::string path = folder.write("metrics.jsonl", fuzz::text_of(data, size));
  fuzz::holds(ErrorKind::kResource, fuzz::Lines::kOne, [&] {
    truncate_after_step(path, 10);
    JsonLinesWriter(path).append({{"step", int64_t{11}}});
    const auto once = std::filesystem::file_size(path);
    truncate_after_step(path, 11);
    if (std::filesystem::file_size(path) != once) fuzz::finding("shortening again drops more");
  });
  return 0;
}
