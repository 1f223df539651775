#include "parallel/comm/mpi/mpi_communicator.h"

#include <algorithm>
#include <cmath>
#include <exception>

namespace longspan {

namespace {

MPI_Datatype mpi_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return MPI_DOUBLE;
    case DType::kFloat32:
      return MPI_FLOAT;
    case DType::kInt64:
      return MPI_INT64_T;
    default:
      raise(ErrorKind::kInternal, "MPI reduces float64, float32 and int64, not {}", name(dtype));
  }
}

template <class T>
void larger_or_nan(void* in, void* inout, int* count, MPI_Datatype*) {
  const T* a = static_cast<const T*>(in);
  T* b = static_cast<T*>(inout);
  for (int i = 0; i < *count; ++i) {
    if (a[i] > b[i] || std::isnan(a[i])) b[i] = a[i];
  }
}

// MPI_MAX, except that a NaN survives, since it is how an overflow shows; MPI leaves that open.
class MaxOperation {
 public:
  explicit MaxOperation(DType dtype) {
    if (dtype == DType::kInt64) return;
    auto* function = dtype == DType::kFloat64 ? &larger_or_nan<double> : &larger_or_nan<float>;
    check_mpi(MPI_Op_create(function, 1, &op_), "MPI_Op_create");
  }
  // MPI keeps what it still needs of an operation that is freed.
  ~MaxOperation() {
    if (op_ != MPI_MAX) MPI_Op_free(&op_);
  }
  MaxOperation(const MaxOperation&) = delete;
  MaxOperation& operator=(const MaxOperation&) = delete;
  MPI_Op get() const { return op_; }

 private:
  MPI_Op op_ = MPI_MAX;
};

int rank_in(MPI_Comm comm) {
  int rank = 0;
  check_mpi(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  return rank;
}

int size_of(MPI_Comm comm) {
  int size = 0;
  check_mpi(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  return size;
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MPI_Comm comm, const std::string& name, std::chrono::milliseconds timeout,
                  std::shared_ptr<MpiTransfers> transfers)
      : Communicator(rank_in(comm), size_of(comm), name, timeout), comm_(comm), transfers_(std::move(transfers)) {
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }

  ~MpiCommunicator() override {
    // Collective, so not while only this rank unwinds; what is still under way completes all the same.
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (!finalized && std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
  }

 private:
  void do_all_reduce(Stream& stream, const Tensor& data, ReduceOp op) override {
    finish_on_host(stream);
    const MaxOperation largest(data.dtype());
    const size_t element_bytes = size_bytes(data.dtype());
    // Nonblocking collectives of Open MPI follow a schedule that size and group determine: results repeat to the bit.
    for_each_piece(data, element_bytes, [&](std::byte* piece, int num_bytes) {
      MpiTransfer transfer(transfers_, *this, "all_reduce");
      transfer.collective({data}, [&](MPI_Request* request) {
        return MPI_Iallreduce(MPI_IN_PLACE, piece, num_bytes / static_cast<int>(element_bytes), mpi_type(data.dtype()),
                              op == ReduceOp::kSum ? MPI_SUM : largest.get(), comm_, request);
      });
      transfer.wait();
    });
  }

  void do_broadcast(Stream& stream, const Tensor& data, int root) override {
    finish_on_host(stream);
    for_each_piece(data, 1, [&](std::byte* piece, int num_bytes) {
      MpiTransfer transfer(transfers_, *this, "broadcast");
      transfer.collective({data}, [&](MPI_Request* request) {
        return MPI_Ibcast(piece, num_bytes, MPI_BYTE, root, comm_, request);
      });
      transfer.wait();
    });
  }

  void do_all_gather(Stream& stream, const Tensor& input, const Tensor& output) override {
    finish_on_host(stream);
    if (input.num_bytes() > transfers_->piece_bytes()) {
      // Pieces of an all_gather would not lie one after another in the output.
      const Tensor own = output.select(0, rank());
      std::copy_n(static_cast<const std::byte*>(input.raw()), input.num_bytes(), static_cast<std::byte*>(own.raw()));
      for (int root = 0; root < size(); ++root) do_broadcast(stream, output.select(0, root), root);
      return;
    }
    const int num_bytes = static_cast<int>(input.num_bytes());
    MpiTransfer transfer(transfers_, *this, "all_gather");
    transfer.collective({input, output}, [&](MPI_Request* request) {
      return MPI_Iallgather(input.raw(), num_bytes, MPI_BYTE, output.raw(), num_bytes, MPI_BYTE, comm_, request);
    });
    transfer.wait();
  }

  Work do_send_recv(Stream& stream, const SendRecv& message) override {
    finish_on_host(stream);
    // Open MPI 4.1 says nothing when a rank sends itself a short message that is longer than what it receives.
    check(message.to != rank() || message.from != rank() || message.send.num_bytes() == message.receive.num_bytes(),
          "rank {} of group '{}' sends {} bytes to itself, but receives {}", rank(), name(), message.send.num_bytes(),
          message.receive.num_bytes());
    auto transfer = std::make_shared<MpiTransfer>(transfers_, *this, "send_recv");
    transfer->receive(comm_, message.receive, message.from);
    transfer->send(comm_, message.send, message.to);
    return Work(std::move(transfer));
  }

  void do_barrier(Stream& stream) override {
    finish_on_host(stream);
    meet("barrier");
  }

  std::unique_ptr<Communicator> do_split(int color, int key, const std::string& name) override {
    // MPI_Comm_split has no nonblocking form; once all ranks have come this far, it does not block for long.
    meet("split");
    MPI_Comm part = MPI_COMM_NULL;
    check_mpi(MPI_Comm_split(comm_, color, key, &part), fmt::format("split of group '{}'", this->name()));
    return make_mpi_communicator(part, name, timeout(), transfers_);
  }

  void do_progress() override { transfers_->progress(); }

  void meet(const char* call) {
    MpiTransfer transfer(transfers_, *this, call);
    transfer.collective({}, [&](MPI_Request* request) { return MPI_Ibarrier(comm_, request); });
    transfer.wait();
  }

  // Calls body(pointer, bytes) for pieces of whole elements that MPI can count.
  template <class Body>
  void for_each_piece(const Tensor& tensor, size_t element_bytes, Body body) {
    auto* begin = static_cast<std::byte*>(tensor.raw());
    const size_t piece_bytes = std::max(transfers_->piece_bytes() / element_bytes, size_t{1}) * element_bytes;
    for (size_t done = 0; done < tensor.num_bytes(); done += piece_bytes) {
      body(begin + done, static_cast<int>(std::min(piece_bytes, tensor.num_bytes() - done)));
    }
  }

  MPI_Comm comm_;
  std::shared_ptr<MpiTransfers> transfers_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(MPI_Comm comm, const std::string& name,
                                                    std::chrono::milliseconds timeout,
                                                    std::shared_ptr<MpiTransfers> transfers) {
  return std::make_unique<MpiCommunicator>(comm, name, timeout, std::move(transfers));
}

}  // namespace longspan
