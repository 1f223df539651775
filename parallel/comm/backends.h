// The communicators of this folder. MPI has a folder of its own (parallel/comm/mpi).
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "parallel/comm/communicator.h"

namespace longspan {

constexpr std::chrono::milliseconds kDefaultTimeout{300'000};

// A group of one.
std::unique_ptr<Communicator> make_self_communicator();

// Tensors of a device, where the call's stream is a device's, over `inner`, which takes the host's: for devices without a way of
// their own to each other. Tensors of the host go as they are. `inner` must outlive it.
std::unique_ptr<Communicator> make_staging_communicator(Communicator& inner);

// Ranks as threads of one process: runs body(communicator) on `size` threads and returns when all have returned. An
// exception on one rank poisons the group: its peers raise CommError in their next or current call. The first exception
// thrown, not one caused by the poison, is rethrown. A rank that returns while a peer still waits for it is such a failure.
void run_in_process(int size, const std::function<void(Communicator&)>& body,
                    std::chrono::milliseconds timeout = std::chrono::milliseconds{60'000});

// What a rank did, in its order; tests assert on it. Other code may add marks between (compute that should hide a hop).
struct CommRecord {
  enum class Kind { kAllReduce, kBroadcast, kAllGather, kSendRecvPosted, kSendRecvWaited, kBarrier, kSplit, kMark };
  Kind kind = Kind::kMark;
  std::string what;  // name of the group, or the text of a mark
  size_t bytes_sent = 0, bytes_received = 0;  // point to point; for collectives, bytes of the tensor
  int to = -1, from = -1;
};

class CommLog {
 public:
  void add(CommRecord record);
  void mark(const std::string& text) { add({.kind = CommRecord::Kind::kMark, .what = text}); }
  std::vector<CommRecord> records() const;
  size_t bytes_received() const;  // by send_recv
  size_t bytes_sent() const;
  void clear();

 private:
  mutable std::mutex mutex_;
  std::vector<CommRecord> records_;
};

// Decorators. `inner` must outlive them; split decorates the new group, too.
std::unique_ptr<Communicator> make_recording_communicator(Communicator& inner, std::shared_ptr<CommLog> log);

// Plants errors. Each field names the count-th send_recv of this rank (from 0, -1: never) that goes wrong, counted over
// the communicator and all that is split from it.
struct CommFaults {
  int corrupt_byte_of = -1;   // one byte of what arrives is flipped; of a floating number, the one with sign and exponent
  int deliver_stale_of = -1;  // what arrives is dropped: the buffer keeps what was in it
  int swap_with_next_of = -1;  // its payload and that of the send_recv after it, which must be posted before this one is
                               // waited for, are delivered in each other's place
  int send_earlier_of = -1;   // what leaves is the payload of the send_recv two before it
  int keep_own_of = -1;       // what arrives is what this rank sent, as if nothing had moved
  int send_twice_of = -1;     // each number that leaves is twice what it should be
  int count_twice_of = -1;    // counts all_reduces that sum instead: this rank's part is in the sum twice
  int fail_at = -1;           // raises CommError instead of sending
  std::chrono::milliseconds delay{0};  // before each send_recv
};
std::unique_ptr<Communicator> make_faulty_communicator(Communicator& inner, const CommFaults& faults);

}  // namespace longspan
