#include "train/data/document_files.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>

#include "core/base/error.h"

namespace longspan {

namespace {

namespace fs = std::filesystem;

constexpr ErrorKind kKind = ErrorKind::kData;
constexpr std::string_view kIndexSuffix = ".idx", kDataSuffix = ".bin";

enum class Found { kNothing, kFile, kFolder, kOther };

Found look_at(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return Found::kNothing;
  if (S_ISREG(status.st_mode)) return Found::kFile;
  return S_ISDIR(status.st_mode) ? Found::kFolder : Found::kOther;
}

// As whom this process acts: access(2) would ask for whom it was started.
bool readable(const std::string& path) {
  return ::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) == 0;
}

bool is_hidden(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

class Finder {
 public:
  explicit Finder(DataFormat format) : suffix_(format == DataFormat::kMegatron ? kIndexSuffix : "") {}

  void find(const std::string& entry) {
    const size_t before = paths_.size();
    const int64_t skipped_before = num_skipped_;
    if (suffix_.empty()) {
      find_files(entry, entry);
    } else {
      find_prefixes(entry);
    }
    if (paths_.size() == before) {
      raise(kKind, "no file matches {}{}", entry,
            num_skipped_ == skipped_before
                ? ""
                : fmt::format(" ({} cannot be read)", num_skipped_ - skipped_before));
    }
  }

  DocumentFiles finish();

 private:
  void find_prefixes(std::string entry) {
    if (entry.ends_with(kIndexSuffix) || entry.ends_with(kDataSuffix)) entry.resize(entry.size() - 4);
    const bool is_prefix =
        look_at(entry + ".idx") != Found::kNothing || look_at(entry + ".bin") != Found::kNothing;
    const bool is_folder = !is_prefix && look_at(entry) == Found::kFolder;
    find_files(entry, is_folder ? entry : entry + ".idx");
  }

  // `path` is a file, a folder or a glob; `entry` is what the user wrote.
  void find_files(const std::string& entry, const std::string& path) {
    switch (look_at(path)) {
      case Found::kFile:
        if (!readable(path)) raise(kKind, "cannot read {}: {}", path, std::strerror(errno));
        paths_.push_back(path);
        return;
      case Found::kFolder:
        return walk(path);
      case Found::kOther:
        raise(kKind, "{} is a pipe or a device, not a file or a folder", path);
      case Found::kNothing:
        break;
    }
    const int reason = errno;
    if (path.find_first_of("*?[") == std::string::npos) {
      std::error_code ignored;
      const bool link = fs::is_symlink(fs::symlink_status(path, ignored));
      raise(kKind, "cannot find {}: {}{}", path, link ? "it links to what is not there: " : "",
            std::strerror(reason));
    }
    find_glob(entry, path);
  }

  void find_glob(const std::string& entry, const std::string& pattern) {
    glob_t matches{};
    const int status = ::glob(pattern.c_str(), 0, nullptr, &matches);
    const std::vector<std::string> paths(matches.gl_pathv, matches.gl_pathv + matches.gl_pathc);
    ::globfree(&matches);
    if (status != 0 && status != GLOB_NOMATCH) raise(kKind, "cannot search for {}", entry);
    for (const std::string& path : paths) {
      if (look_at(path) == Found::kFolder) {
        walk(path);
      } else {
        add_if_usable(path);
      }
    }
  }

  // A folder that may not be read is skipped; one that cannot be read today would make another list than
  // tomorrow's.
  void walk(const fs::path& folder) {
    std::error_code failure;
    fs::directory_iterator entries(folder, failure);
    if (failure == std::errc::permission_denied) {
      ++num_skipped_;
      return;
    }
    while (!failure && entries != fs::directory_iterator()) {
      visit(entries->path());
      entries.increment(failure);
    }
    if (failure) raise(kKind, "cannot list {}: {}", folder.string(), failure.message());
  }

  void visit(const fs::path& path) {
    if (is_hidden(path)) return;
    std::error_code ignored;
    const bool link = fs::is_symlink(fs::symlink_status(path, ignored));
    if (!link && look_at(path.string()) == Found::kFolder) {
      walk(path);
    } else if (path.string().ends_with(suffix_)) {
      add_if_usable(path.string());
    }
  }

  void add_if_usable(const std::string& path) {
    if (look_at(path) == Found::kFile && readable(path)) {
      paths_.push_back(path);
    } else {
      ++num_skipped_;
    }
  }

  std::string_view suffix_;  // of the files looked for inside folders; cut off in the end
  std::vector<std::string> paths_;
  int64_t num_skipped_ = 0;
};

DocumentFiles Finder::finish() {
  std::vector<std::pair<std::string, std::string>> order;  // absolute path, path
  for (const std::string& path : paths_) {
    const fs::path normal = fs::path(path).lexically_normal();
    std::error_code failure;
    const fs::path absolute = fs::absolute(normal, failure);
    if (failure) raise(kKind, "cannot find {}: {}", path, failure.message());
    order.emplace_back(absolute.lexically_normal().string(), normal.string());
  }
  std::sort(order.begin(), order.end());
  DocumentFiles result{.files = {}, .num_skipped = num_skipped_};
  std::set<std::string> known;
  for (auto& [absolute, path] : order) {
    std::error_code failure;
    std::string real = fs::canonical(absolute, failure).string();
    if (failure) raise(kKind, "cannot find {}: {}", path, failure.message());
    if (!known.insert(real).second) continue;
    if (fs::file_size(real, failure) == 0 || failure) {
      ++result.num_empty;
      continue;
    }
    path.resize(path.size() - suffix_.size());
    result.files.push_back({.path = path, .real_path = std::move(real)});
  }
  return result;
}

}  // namespace

DocumentFiles find_document_files(const std::vector<std::string>& entries, DataFormat format) {
  if (entries.empty()) raise(kKind, "no data files are named");
  Finder finder(format);
  for (const std::string& entry : entries) finder.find(entry);
  DocumentFiles result = finder.finish();
  if (result.files.empty()) {
    raise(kKind, "{}{}: all {} files are empty", entries[0], entries.size() > 1 ? " and others" : "",
          result.num_empty);
  }
  return result;
}

}  // namespace longspan
