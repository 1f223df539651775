#include "train/data/mapped_files.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/base/error.h"

namespace longspan {

namespace {
constexpr size_t kMostOpen = 64;
}

MappedFiles::MappedFiles(std::vector<std::string> paths) : paths_(std::move(paths)) {}

const MappedFile& MappedFiles::get(size_t file, int64_t size_bytes) const {
  const auto found =
      std::find_if(open_.begin(), open_.end(), [&](const Open& open) { return open.file == file; });
  if (found != open_.end()) {
    std::rotate(found, found + 1, open_.end());
  } else {
    auto map = std::make_unique<MappedFile>(paths_[file], ErrorKind::kData);
    if (static_cast<int64_t>(map->size_bytes()) != size_bytes) {
      raise(ErrorKind::kData, "{} had {} bytes when the data was listed and now has {}", paths_[file],
            size_bytes, map->size_bytes());
    }
    if (open_.size() == kMostOpen) open_.erase(open_.begin());
    open_.push_back({.file = file, .map = std::move(map)});
  }
  open_.back().map->expect_unchanged();
  return *open_.back().map;
}

int64_t file_size_bytes(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    raise(ErrorKind::kData, "cannot find {}: {}", path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) raise(ErrorKind::kData, "{} is not a regular file", path);
  return status.st_size;
}

}  // namespace longspan
