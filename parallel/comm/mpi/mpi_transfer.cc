#include "parallel/comm/mpi/mpi_transfer.h"

#include <algorithm>
#include <thread>

namespace longspan {

namespace {

constexpr int kTag = 0;  // messages between two ranks keep their order

std::string text_of(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) return fmt::format("MPI error {}", code);
  return std::string(text, static_cast<size_t>(length));
}

// Calls body(pointer, bytes) for pieces of a tensor that MPI can count; once for an empty one, so that it is sent, too.
template <class Body>
void for_each_piece(const Tensor& tensor, size_t piece_bytes, Body body) {
  auto* begin = static_cast<std::byte*>(tensor.raw());
  size_t done = 0;
  do {
    const size_t n = std::min(piece_bytes, tensor.num_bytes() - done);
    body(begin + done, static_cast<int>(n));
    done += n;
  } while (done < tensor.num_bytes());
}

}  // namespace

void check_mpi(int code, const std::string& call) {
  if (code != MPI_SUCCESS) throw CommError(fmt::format("{}: {}", call, text_of(code)));
}

void MpiTransfers::test(Entry& entry, Part& part, int& done) noexcept {
  MPI_Status status;
  const int code = MPI_Test(&part.request, &done, &status);
  int num_bytes = part.expected_bytes;
  if (code != MPI_SUCCESS) {
    done = 1;  // a request that failed is over
  } else if (done && part.expected_bytes >= 0) {
    MPI_Get_count(&status, MPI_BYTE, &num_bytes);
  }
  if (code == MPI_SUCCESS && num_bytes == part.expected_bytes) return;
  if (!entry.failure) entry.failure = Failure{std::move(part.what), code, num_bytes};
}

bool MpiTransfers::poll(Entry& entry) noexcept {
  std::erase_if(entry.parts, [&](Part& part) {
    int done = 0;
    test(entry, part, done);
    return done != 0;
  });
  return entry.parts.empty() || entry.failure;
}

void MpiTransfers::progress() noexcept {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    poll(*entry);
    entry = entry->abandoned && entry->parts.empty() ? entries_.erase(entry) : std::next(entry);
  }
}

MpiTransfer::MpiTransfer(std::shared_ptr<MpiTransfers> all, const Communicator& group, const char* call)
    : all_(std::move(all)),
      timeout_(group.timeout()),
      call_(fmt::format("{} in group '{}', rank {} of {}", call, group.name(), group.rank(), group.size())),
      peers_(fmt::format("ranks 0 to {}", group.size() - 1)),
      entry_(all_->entries_.emplace(all_->entries_.end())) {}

MpiTransfer::~MpiTransfer() {
  if (entry_->parts.empty()) {
    all_->entries_.erase(entry_);
  } else {
    entry_->abandoned = true;
  }
}

void MpiTransfer::send(MPI_Comm comm, const Tensor& tensor, int to) {
  entry_->held.push_back(tensor);
  for_each_piece(tensor, all_->piece_bytes(), [&](void* data, int num_bytes) {
    MPI_Request& request = new_part(fmt::format("send of {} bytes to rank {}", num_bytes, to));
    check_mpi(MPI_Isend(data, num_bytes, MPI_BYTE, to, kTag, comm, &request), call_);
  });
}

void MpiTransfer::receive(MPI_Comm comm, const Tensor& tensor, int from) {
  entry_->held.push_back(tensor);
  for_each_piece(tensor, all_->piece_bytes(), [&](void* data, int num_bytes) {
    MPI_Request& request = new_part(fmt::format("receive of {} bytes from rank {}", num_bytes, from), num_bytes);
    check_mpi(MPI_Irecv(data, num_bytes, MPI_BYTE, from, kTag, comm, &request), call_);
  });
}

MPI_Request& MpiTransfer::new_part(const std::string& what, int expected_bytes) {
  entry_->parts.push_back({MPI_REQUEST_NULL, what, expected_bytes});
  return entry_->parts.back().request;
}

bool MpiTransfer::test() {
  const bool finished = MpiTransfers::poll(*entry_);
  raise_if_failed();
  if (finished) entry_->held.clear();
  return finished;
}

void MpiTransfer::wait() {
  const auto deadline = std::chrono::steady_clock::now() + timeout_;
  while (!test()) {
    if (std::chrono::steady_clock::now() > deadline) {
      std::string missing;
      for (const auto& part : entry_->parts) missing += (missing.empty() ? "" : ", ") + part.what;
      throw CommError(fmt::format("{}: no answer within {:.3g} s: {}", call_,
                                  static_cast<double>(timeout_.count()) / 1e3, missing));
    }
    std::this_thread::yield();  // ranks may be more than cores
  }
}

void MpiTransfer::raise_if_failed() const {
  if (!entry_->failure) return;
  const auto& [what, code, num_bytes] = *entry_->failure;
  check_mpi(code, call_ + ": " + what);
  throw CommError(fmt::format("{}: {}: {} bytes arrived", call_, what, num_bytes));
}

}  // namespace longspan
