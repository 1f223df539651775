// One run at a time in an output_directory: rank 0 holds flock(2) on its file `lock`, which says who that is.
//
// The lock goes with the process, however it ends; the file stays.
#pragma once

#include <string>
#include <utility>

namespace longspan {

class FolderLock {
 public:
  FolderLock() = default;
  ~FolderLock();
  FolderLock(FolderLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  FolderLock& operator=(FolderLock&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }

  // Raises Error(kConfiguration) naming the holder where another run has it, and Error(kResource) where the file cannot be
  // written. A file system without locks is taken as it is.
  static FolderLock take(const std::string& folder, const std::string& host);
  // The same, but held() is false for any of these reasons.
  static FolderLock try_take(const std::string& folder, const std::string& host);
  bool held() const { return file_ >= 0; }

 private:
  explicit FolderLock(int file) : file_(file) {}
  int file_ = -1;
};

}  // namespace longspan
