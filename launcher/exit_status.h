// How a process ends: exit codes, and output_directory/exit_status.json.
//
// Launchers change exit codes (mpirun answers 1 or 205 after a kill, srun 137), so the file is the truth. The first rank
// that fails writes it: it appears under its name by link(2), which succeeds for one writer only. Ranks that fail
// because a peer did come later and find it there.
//
// {"code": 85, "reason": "stopped on request ...", "rank": 0, "host": "node1", "step": 17, "launch": "node1.4711.17"}
// `launch` is $LONGSPAN_LAUNCH, where that is set: the scripts of cluster/ know by it what their own launch left, since a
// launch that is refused must not answer for the run that has the folder.
#pragma once

#include <cstdint>
#include <exception>
#include <string>

#include "core/base/error.h"

namespace longspan {

constexpr int kExitDone = 0;
constexpr int kExitInternal = 1;
constexpr int kExitConfiguration = 2;
constexpr int kExitStopped = 85;  // checkpointed on a signal: start again to continue
constexpr int kExitInterrupted = 130;  // ended by a signal, with nothing to save

int exit_code(ErrorKind kind);

struct Failure {
  int code = kExitInternal;
  std::string message;
};
// Of an exception of any type; running out of memory counts as resources.
Failure describe(const std::exception_ptr& exception);

struct ExitStatus {
  int code = 0;
  std::string reason;
  int rank = 0;
  std::string host;
  int64_t step = 0;
};

enum class Claim { kFirst, kTaken, kImpossible };

// Writes the file whole, or leaves the one that is there. Never throws: a run that fails must still end with its code.
Claim claim_exit_status(const std::string& output_directory, const ExitStatus& status) noexcept;

// Removes the file of an earlier run.
void clear_exit_status(const std::string& output_directory);

// Whether an earlier run of ours left this folder, so that writing into it is no surprise.
bool is_run_directory(const std::string& output_directory);

}  // namespace longspan
