#include "train/formats/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace longspan {

MappedFile::MappedFile(const std::string& path, ErrorKind kind) : path_(path), kind_(kind) {
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) raise(kind_, "cannot open {}: {}", path_, std::strerror(errno));
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }  // the mapping outlives it: many files may be mapped at once
  } closer{descriptor};
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) raise(kind_, "cannot look at {}: {}", path_, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) {
    raise(kind_, "{} is {}, not a regular file", path_,
          S_ISDIR(status.st_mode) ? "a folder" : "a pipe or a device");
  }
  size_ = static_cast<size_t>(status.st_size);
  modified_seconds_ = status.st_mtim.tv_sec;
  modified_nanoseconds_ = status.st_mtim.tv_nsec;
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor, 0);
  if (address == MAP_FAILED) raise(kind_, "cannot map {}: {}", path_, std::strerror(errno));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  release();
}

MappedFile::MappedFile(MappedFile&& other) noexcept {
  *this = std::move(other);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  release();
  path_ = std::move(other.path_);
  kind_ = other.kind_;
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  modified_seconds_ = other.modified_seconds_;
  modified_nanoseconds_ = other.modified_nanoseconds_;
  return *this;
}

void MappedFile::expect_unchanged() const {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0)
    raise(kind_, "cannot find {} any more: {}", path_, std::strerror(errno));
  const auto size = static_cast<size_t>(status.st_size);
  if (size != size_) raise(kind_, "{} had {} bytes when it was opened and now has {}", path_, size_, size);
  if (status.st_mtim.tv_sec != modified_seconds_ || status.st_mtim.tv_nsec != modified_nanoseconds_) {
    raise(kind_, "{} was written to while it was being read", path_);
  }
}

void MappedFile::release() noexcept {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  data_ = nullptr;
}

}  // namespace longspan
