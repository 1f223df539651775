// The ranks of this run: those that an MPI launcher started, or this process alone, in which case MPI is never touched.
#pragma once

#include <mpi.h>

#include <chrono>
#include <memory>
#include <string>

#include "launcher/launch.h"
#include "parallel/comm/mpi/mpi_session.h"

namespace longspan {

constexpr std::chrono::minutes kDefaultStartLimit{10};  // of thousands of ranks, from a busy file system

// Collective. The largest value of any rank.
int64_t largest_of_ranks(Communicator& ranks, int64_t value);

class World {
 public:
  // Ends the process with the code of communication where MPI has not brought the ranks together within `start_limit`.
  World(Launch launch, std::chrono::milliseconds timeout, std::chrono::milliseconds start_limit = kDefaultStartLimit);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Communicator& communicator() const { return session_ ? session_->world() : *alone_; }
  int rank() const { return communicator().rank(); }
  int size() const { return communicator().size(); }
  bool alone() const { return session_ == nullptr; }  // started without an MPI launcher
  const std::string& host_name() const { return host_name_; }

  // Those on this host; just this process where it is alone.
  Communicator& local_ranks() const { return session_ ? session_->local_ranks() : *alone_; }

  // Collective. The largest value of any rank.
  int64_t largest(int64_t value) { return largest_of_ranks(communicator(), value); }
  // Collective. Threads for this rank, so that the ranks of each host use its cores once.
  int share_of_threads();
  // This rank's part of the memory of its host.
  int64_t share_of_memory_bytes() const;

  // Called by a rank that fails: true if all ranks called it within the time, so that all may end in order.
  bool all_ranks_fail(std::chrono::milliseconds patience);
  // Ends all ranks now; their launcher reports the code.
  [[noreturn]] void abort(int code);

 private:
  std::unique_ptr<MpiSession> session_;
  std::unique_ptr<Communicator> alone_;
  std::string host_name_;
  MPI_Comm failing_ = MPI_COMM_NULL;  // ranks meet here when they fail; nothing else uses it
};

}  // namespace longspan
