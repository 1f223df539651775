// MpiSession: MPI for the length of a run. Made once per process, by the launcher, on the thread that makes all calls of
// all its communicators (MPI_THREAD_FUNNELED). A watchdog on another thread must not call MPI.
//
// Communicators move host tensors. Open MPI moves bytes only inside its calls: long computations call progress().
// A rank that fails leaves with abort(code), which ends the others; the launchers of MPI report that code. The destructor
// waits for the other ranks, at most for the timeout, and finalizes. While an exception unwinds, or when a transfer was
// given up, it leaves MPI as it is instead, since to finalize could block for ever: mpirun then ends the other ranks.
// Raises CommError when MPI reports an error, or when peers do not answer in time.
#pragma once

#include <memory>
#include <string>

#include "parallel/comm/backends.h"

namespace longspan {

class MpiTransfers;

class MpiSession {
 public:
  struct Options {
    std::chrono::milliseconds timeout = kDefaultTimeout;  // of every wait, in all groups
    size_t piece_bytes = size_t{1} << 30;                 // longer messages go in pieces: MPI counts in int
  };
  MpiSession() : MpiSession(Options()) {}
  explicit MpiSession(const Options& options);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // These, and what is split from them, must not be used after the session.
  Communicator& world() { return *world_; }
  // The ranks on this host: rank and size are the local rank and the number of ranks that share the machine. Variables of
  // the environment do not tell: they are absent or wrong under some launchers.
  Communicator& local_ranks() { return *local_ranks_; }
  const std::string& host_name() const { return host_name_; }

  [[noreturn]] void abort(int code) noexcept;  // ends all ranks

 private:
  bool can_finalize() noexcept;

  int exceptions_at_start_;
  std::shared_ptr<MpiTransfers> transfers_;
  std::string host_name_;
  std::unique_ptr<Communicator> world_, local_ranks_;
};

}  // namespace longspan
