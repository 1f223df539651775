// Requests of MPI under way, with the tensors that MPI reads and writes meanwhile.
//
// The session owns both; an MpiTransfer refers to its part. One that is dropped unfinished, because an exception unwinds
// past it, leaves its requests and tensors behind: MPI offers no way to call a send or a collective back, so their
// memory must not be reused until MPI is done with it. What is left behind is released as it completes, and for the rest
// the session leaks it on purpose and does not finalize.
#pragma once

#include <mpi.h>

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/comm/communicator.h"

namespace longspan {

// Raises CommError with MPI's own words unless `code` is success.
void check_mpi(int code, const std::string& call);

// All requests of a session.
class MpiTransfers {
 public:
  explicit MpiTransfers(size_t piece_bytes) : piece_bytes_(piece_bytes) {}
  size_t piece_bytes() const { return piece_bytes_; }
  // Moves bytes along and releases what was abandoned and is done. A failure is kept for the transfer's own wait.
  void progress() noexcept;
  bool empty() const { return entries_.empty(); }

 private:
  friend class MpiTransfer;
  struct Part {
    MPI_Request request = MPI_REQUEST_NULL;
    std::string what;         // "receive of 12 bytes from rank 1"
    int expected_bytes = -1;  // of a receive
  };
  struct Failure {
    std::string what;
    int code = MPI_SUCCESS;
    int num_bytes = 0;  // that arrived, for a message of the wrong size
  };
  struct Entry {
    std::vector<Part> parts;  // those not done
    std::vector<Tensor> held;
    std::optional<Failure> failure;  // the first
    bool abandoned = false;
  };
  static void test(Entry& entry, Part& part, int& done) noexcept;
  // Whether nothing is left to wait for: all is done, or something has failed.
  static bool poll(Entry& entry) noexcept;

  size_t piece_bytes_;
  std::list<Entry> entries_;
};

class MpiTransfer final : public Work::State {
 public:
  // The call is named in errors: "send_recv in group 'ring', rank 0 of 2".
  MpiTransfer(std::shared_ptr<MpiTransfers> all, const Communicator& group, const char* call);
  ~MpiTransfer() override;
  MpiTransfer(const MpiTransfer&) = delete;
  MpiTransfer& operator=(const MpiTransfer&) = delete;

  void send(MPI_Comm comm, const Tensor& tensor, int to);
  void receive(MPI_Comm comm, const Tensor& tensor, int from);
  // Adds the request that start(MPI_Request*) makes for a collective that uses these tensors.
  template <class Start>
  void collective(std::vector<Tensor> tensors, Start start) {
    entry_->held = std::move(tensors);
    check_mpi(start(&new_part("some of " + peers_)), call_);
  }

  bool test() override;
  void wait() override;
  bool finished() const noexcept override { return entry_->parts.empty() || entry_->failure; }

 private:
  MPI_Request& new_part(const std::string& what, int expected_bytes = -1);
  void raise_if_failed() const;

  std::shared_ptr<MpiTransfers> all_;
  std::chrono::milliseconds timeout_;
  std::string call_, peers_;
  std::list<MpiTransfers::Entry>::iterator entry_;
};

}  // namespace longspan
