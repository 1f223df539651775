// MappedFiles: many files of which few are mapped at a time, the least recently used giving way.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "train/formats/mapped_file.h"

namespace longspan {

class MappedFiles {
 public:
  explicit MappedFiles(std::vector<std::string> paths);

  const std::string& path(size_t file) const { return paths_[file]; }
  size_t size() const { return paths_.size(); }
  // Valid until the next call. Raises unless the file has `size_bytes`, which it had when the data was
  // listed.
  const MappedFile& get(size_t file, int64_t size_bytes) const;

 private:
  struct Open {
    size_t file = 0;
    std::unique_ptr<MappedFile> map;
  };
  std::vector<std::string> paths_;
  mutable std::vector<Open> open_;  // the latest last
};

// The size of a regular file; raises Error(kData) naming it where it is none.
int64_t file_size_bytes(const std::string& path);

}  // namespace longspan
