// What the writer and the reader of checkpoints agree on, beside the manifest's schema.
#pragma once

#include <string>

#include "core/base/error.h"
#include "train/checkpoint.h"

namespace longspan::checkpoint_format {

constexpr int kVersion = 1;
constexpr char kManifestName[] = "manifest.pb";

// The step of a finished checkpoint's folder name, or -1.
int64_t step_of(const std::string& name);

[[noreturn]] inline void fail(const std::string& path, const std::string& why) {
  raise(ErrorKind::kCheckpoint, "checkpoint {}: {}", path, why);
}

inline Box box_of(const NamedTensor& named) {
  return named.box.whole.rank() == 0 ? Box::all_of(named.tensor.shape()) : named.box;
}

}  // namespace longspan::checkpoint_format
