// MappedFile: a regular file mapped read-only, for as long as the object lives.
//
// A mapped file that shrinks kills its reader with SIGBUS, so whoever reads bytes long after opening calls
// `expect_unchanged` first. Every error names the path and the system's reason, and is of the kind the caller
// gives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/base/error.h"

namespace longspan {

class MappedFile {
 public:
  // Only regular files: a pipe or a device has no length to map. An empty file gives an empty span.
  explicit MappedFile(const std::string& path, ErrorKind kind = ErrorKind::kData);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  size_t size_bytes() const { return size_; }

  // Raises unless the path still leads to a file of the size and the modification time that it had when it
  // was opened.
  void expect_unchanged() const;

 private:
  void release() noexcept;

  std::string path_;
  ErrorKind kind_ = ErrorKind::kData;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  int64_t modified_seconds_ = 0, modified_nanoseconds_ = 0;
};

}  // namespace longspan
