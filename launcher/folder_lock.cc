#include "launcher/folder_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/error.h"

namespace longspan {
namespace {

std::string holder_of(int file) {
  char text[256];
  const ssize_t count = pread(file, text, sizeof text, 0);
  const std::string_view said(text, count > 0 ? static_cast<size_t>(count) : 0);
  return said.empty() ? "unknown" : std::string(said.substr(0, said.find('\n')));
}

}  // namespace

FolderLock::~FolderLock() {
  if (held()) close(file_);
}

FolderLock FolderLock::take(const std::string& folder, const std::string& host) {
  const std::string path = folder + "/lock";
  const int file = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
  if (file < 0) raise(ErrorKind::kResource, "cannot write {}: {}", path, strerror(errno));
  FolderLock lock(file);
  if (flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    raise(ErrorKind::kConfiguration,
          "output_directory: {} is in use by another run ({}): wait for its end, stop it, or name another folder", folder,
          holder_of(file));
  }
  const std::string text = fmt::format("pid {} on {}\n", getpid(), host);
  if (ftruncate(file, 0) != 0 || pwrite(file, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    raise(ErrorKind::kResource, "cannot write {}: {}", path, strerror(errno));
  }
  return lock;
}

FolderLock FolderLock::try_take(const std::string& folder, const std::string& host) {
  try {
    return take(folder, host);
  } catch (const Error&) {
    return {};
  }
}

}  // namespace longspan
