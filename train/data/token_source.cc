#include "train/data/token_source.h"

#include "train/data/megatron_source.h"
#include "train/data/raw_source.h"

namespace longspan {

std::unique_ptr<TokenSource> open_token_source(DataFormat format, const std::vector<std::string>& files) {
  switch (format) {
    case DataFormat::kText:
      return std::make_unique<RawSource>(RawType::kUInt8, files);
    case DataFormat::kTokensU16:
      return std::make_unique<RawSource>(RawType::kUInt16, files);
    case DataFormat::kTokensU32:
      return std::make_unique<RawSource>(RawType::kUInt32, files);
    case DataFormat::kMegatron:
      return std::make_unique<MegatronSource>(files);
  }
  raise(ErrorKind::kInternal, "unknown data format {}", static_cast<int>(format));
}

}  // namespace longspan
