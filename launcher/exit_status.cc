#include "launcher/exit_status.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <new>

#include "train/formats/json_lines.h"

namespace longspan {
namespace {

bool write_whole(int file, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = write(file, text.data() + done, text.size() - done);
    if (count < 0 && errno != EINTR) return false;
    if (count > 0) done += static_cast<size_t>(count);
  }
  return fsync(file) == 0;
}

std::string text_of(const ExitStatus& status) {
  std::vector<JsonField> fields = {{"code", int64_t{status.code}},
                                   {"reason", status.reason},
                                   {"rank", int64_t{status.rank}},
                                   {"host", status.host},
                                   {"step", status.step}};
  if (const char* launch = std::getenv("LONGSPAN_LAUNCH")) fields.push_back({"launch", std::string(launch)});
  return to_json(fields) + "\n";
}

}  // namespace

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInternal: return kExitInternal;
    case ErrorKind::kConfiguration: return kExitConfiguration;
    case ErrorKind::kData: return 3;
    case ErrorKind::kCheckpoint: return 4;
    case ErrorKind::kResource: return 5;
    case ErrorKind::kCommunication: return 6;
    case ErrorKind::kNumerical: return 7;
  }
  return kExitInternal;
}

Failure describe(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return {exit_code(error.kind()), error.what()};
  } catch (const std::bad_alloc&) {
    return {exit_code(ErrorKind::kResource), "out of memory: use more ranks, a shorter sequence or smaller tiles"};
  } catch (const std::filesystem::filesystem_error& error) {
    return {exit_code(ErrorKind::kResource), error.what()};
  } catch (const std::exception& error) {
    return {kExitInternal, error.what()};
  } catch (...) {
    return {kExitInternal, "an exception of unknown type"};
  }
}

Claim claim_exit_status(const std::string& output_directory, const ExitStatus& status) noexcept try {
  const std::string path = output_directory + "/exit_status.json";
  const std::string temporary = path + "." + status.host + "." + std::to_string(getpid());
  const std::string text = text_of(status);
  const int file = open(temporary.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
  if (file < 0) return Claim::kImpossible;
  const bool written = write_whole(file, text);
  close(file);
  Claim claim = Claim::kImpossible;
  if (written) claim = link(temporary.c_str(), path.c_str()) == 0 ? Claim::kFirst : Claim::kTaken;
  if (claim == Claim::kTaken && errno != EEXIST) {
    // A file system without hard links; two writers at the same moment are then the last one's.
    std::error_code error;
    if (std::filesystem::exists(path, error)) return unlink(temporary.c_str()), Claim::kTaken;
    return rename(temporary.c_str(), path.c_str()) == 0 ? Claim::kFirst : Claim::kImpossible;
  }
  unlink(temporary.c_str());
  return claim;
} catch (...) {
  return Claim::kImpossible;
}

void clear_exit_status(const std::string& output_directory) {
  std::filesystem::remove(output_directory + "/exit_status.json");
}

bool is_run_directory(const std::string& output_directory) {
  std::error_code error;
  return !output_directory.empty() && (std::filesystem::exists(output_directory + "/config.textproto", error) ||
                                       std::filesystem::exists(output_directory + "/exit_status.json", error));
}

}  // namespace longspan
