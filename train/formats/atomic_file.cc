#include "train/formats/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

namespace longspan {

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string folder_of(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& path, ErrorKind kind) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) raise(kind, "cannot write {}: {}", path, std::strerror(errno));
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void fsync_directory(const std::string& path, ErrorKind kind) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) raise(kind, "cannot open the folder {}: {}", path, std::strerror(errno));
  const int reason = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some file systems cannot sync a folder and say EINVAL; there is nothing more to be done on them.
  if (reason != 0 && reason != EINVAL)
    raise(kind, "cannot sync the folder {}: {}", path, std::strerror(reason));
}

AtomicFile::AtomicFile(const std::string& path, ErrorKind kind) : path_(path), kind_(kind) {
  for (int n = 0; descriptor_ < 0; ++n) {
    temporary_ = fmt::format("{}.tmp-{}-{}", path, ::getpid(), n);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST)
      raise(kind_, "cannot create {}: {}", temporary_, std::strerror(errno));
  }
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  check(descriptor_ >= 0, "{} was written to after its commit", path_);
  write_all(descriptor_, bytes, temporary_, kind_);
}

void AtomicFile::write(std::string_view text) {
  write(bytes_of(text));
}

void AtomicFile::commit() {
  check(descriptor_ >= 0, "{} was committed twice", path_);
  if (::fsync(descriptor_) != 0) raise(kind_, "cannot sync {}: {}", temporary_, std::strerror(errno));
  // A network file system may report a failed write only here.
  if (::close(std::exchange(descriptor_, -1)) != 0) {
    const int reason = errno;
    ::unlink(temporary_.c_str());
    raise(kind_, "cannot close {}: {}", temporary_, std::strerror(reason));
  }
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary_.c_str());
    raise(kind_, "cannot rename {} to {}: {}", temporary_, path_, std::strerror(reason));
  }
  fsync_directory(folder_of(path_), kind_);
}

void AtomicFile::discard() noexcept {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes, ErrorKind kind) {
  AtomicFile file(path, kind);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(const std::string& path, std::string_view text, ErrorKind kind) {
  write_file_atomically(path, bytes_of(text), kind);
}

}  // namespace longspan
