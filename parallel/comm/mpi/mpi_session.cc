#include "parallel/comm/mpi/mpi_session.h"

#include <exception>
#include <limits>

#include "parallel/comm/mpi/mpi_communicator.h"

namespace longspan {

namespace {

void initialize() {
  int initialized = 0, finalized = 0, provided = 0;
  check_mpi(MPI_Initialized(&initialized), "MPI_Initialized");
  check_mpi(MPI_Finalized(&finalized), "MPI_Finalized");
  check(!initialized && !finalized, "a process has one MPI session in its life");
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  if (provided < MPI_THREAD_FUNNELED) {
    raise(ErrorKind::kResource, "this MPI gives thread level {}, but {} (MPI_THREAD_FUNNELED) is needed", provided,
          static_cast<int>(MPI_THREAD_FUNNELED));
  }
}

// A host is called by its first rank.
std::vector<int> hosts_of_ranks(MPI_Comm world, MPI_Comm local) {
  int host = 0, num_ranks = 0;
  check_mpi(MPI_Comm_rank(world, &host), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(world, &num_ranks), "MPI_Comm_size");
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &host, 1, MPI_INT, MPI_MIN, local), "MPI_Allreduce of a host's ranks");
  std::vector<int> hosts(static_cast<size_t>(num_ranks));
  check_mpi(MPI_Allgather(&host, 1, MPI_INT, hosts.data(), 1, MPI_INT, world), "MPI_Allgather of hosts");
  return hosts;
}

std::string processor_name() {
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  check_mpi(MPI_Get_processor_name(name, &length), "MPI_Get_processor_name");
  return std::string(name, static_cast<size_t>(length));
}

}  // namespace

MpiSession::MpiSession(const Options& options)
    : exceptions_at_start_(std::uncaught_exceptions()), transfers_(std::make_shared<MpiTransfers>(options.piece_bytes)) {
  check(options.piece_bytes >= 1 && options.piece_bytes <= std::numeric_limits<int>::max(),
        "MPI cannot send pieces of {} bytes", options.piece_bytes);
  initialize();
  host_name_ = processor_name();
  MPI_Comm world = MPI_COMM_NULL, local = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &world), "MPI_Comm_dup");
  world_ = make_mpi_communicator(world, "world", options.timeout, transfers_);
  check_mpi(MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, world_->rank(), MPI_INFO_NULL, &local),
            "MPI_Comm_split_type");
  world_->place_on_hosts(hosts_of_ranks(world, local));
  local_ranks_ = make_mpi_communicator(local, "local ranks", options.timeout, transfers_);
}

MpiSession::~MpiSession() {
  if (!can_finalize()) {
    // MPI may write into the tensors of transfers that were given up, until the process ends.
    new std::shared_ptr<MpiTransfers>(transfers_);
    return;
  }
  local_ranks_.reset();
  world_.reset();
  MPI_Finalize();
}

bool MpiSession::can_finalize() noexcept {
  if (std::uncaught_exceptions() > exceptions_at_start_) return false;
  try {
    const auto stream = Stream::make_inline();
    world_->barrier(*stream);
    transfers_->progress();
    return transfers_->empty();
  } catch (...) {
    return false;
  }
}

void MpiSession::abort(int code) noexcept {
  MPI_Abort(MPI_COMM_WORLD, code);
  std::terminate();  // not reached: MPI_Abort does not return
}

}  // namespace longspan
