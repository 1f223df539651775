// AtomicFile: a file that appears whole or not at all, also when the power fails.
//
// The bytes go to a temporary sibling, `<path>.tmp-<pid>-<n>`; `commit` syncs it, renames it over `path` and
// syncs the folder. Without `commit` the temporary is removed and `path` is as it was. Every error names the
// path and the system's reason, and is of the kind the caller gives.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "core/base/error.h"

namespace longspan {

class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path, ErrorKind kind = ErrorKind::kCheckpoint);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  void commit();  // once, at the end

 private:
  void discard() noexcept;

  std::string path_, temporary_;
  ErrorKind kind_;
  int descriptor_ = -1;
};

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes,
                           ErrorKind kind = ErrorKind::kCheckpoint);
void write_file_atomically(const std::string& path, std::string_view text,
                           ErrorKind kind = ErrorKind::kCheckpoint);

// Writes all bytes to an open file, however many calls that takes; `path` is for the message.
void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& path, ErrorKind kind);

// Makes names created, renamed or removed in a folder survive a power cut.
void fsync_directory(const std::string& path, ErrorKind kind = ErrorKind::kCheckpoint);

}  // namespace longspan
