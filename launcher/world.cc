#include "launcher/world.h"

#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "core/runtime/context.h"
#include "launcher/control_groups.h"
#include "launcher/host_memory.h"
#include "launcher/host_threads.h"
#include "launcher/start_watch.h"

namespace longspan {
namespace {

constexpr int64_t kMaskWords = kMaxCpus / 64;

std::string own_host_name() {
  char name[256] = "localhost";
  gethostname(name, sizeof name - 1);
  return name;
}

Tensor mask_tensor(const Context& context, const CpuMask& mask) {
  Tensor words = context.zeros(Shape{kMaskWords}, DType::kInt64);
  auto* data = words.data<int64_t>();
  for (size_t cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (mask[cpu]) data[cpu / 64] |= static_cast<int64_t>(uint64_t{1} << (cpu % 64));
  }
  return words;
}

CpuMask mask_of(const int64_t* words) {
  CpuMask mask;
  for (size_t cpu = 0; cpu < kMaxCpus; ++cpu) mask[cpu] = (static_cast<uint64_t>(words[cpu / 64]) >> (cpu % 64)) & 1;
  return mask;
}

}  // namespace

int64_t largest_of_ranks(Communicator& ranks, int64_t value) {
  const Context context(Context::Options{});
  const Tensor cell = context.empty(Shape{1}, DType::kInt64);
  *cell.data<int64_t>() = value;
  ranks.all_reduce(context.stream(), cell, ReduceOp::kMax);
  context.stream().synchronize();
  return *cell.data<int64_t>();
}

World::World(Launch launch, std::chrono::milliseconds timeout, std::chrono::milliseconds start_limit) {
  if (launch == Launch::kAlone) {
    alone_ = make_self_communicator();
    host_name_ = own_host_name();
    return;
  }
  const StartWatch watch(start_limit);
  session_ = std::make_unique<MpiSession>(MpiSession::Options{.timeout = timeout});
  host_name_ = session_->host_name();
  if (MPI_Comm_dup(MPI_COMM_WORLD, &failing_) != MPI_SUCCESS) {
    throw CommError("MPI_Comm_dup failed while the ranks met; start the run again");
  }
}

World::~World() = default;

int World::share_of_threads() {
  const CpuMask own = own_cpu_mask();
  if (!session_) return threads_of_rank({own}, 0, cpu_quota());
  const Context context(Context::Options{});
  Communicator& local = session_->local_ranks();
  const Tensor all = context.empty(Shape{local.size(), kMaskWords}, DType::kInt64);
  local.all_gather(context.stream(), mask_tensor(context, own), all);
  context.stream().synchronize();
  std::vector<CpuMask> masks;
  for (int rank = 0; rank < local.size(); ++rank) masks.push_back(mask_of(all.data<int64_t>() + rank * kMaskWords));
  return threads_of_rank(masks, local.rank(), cpu_quota());
}

int64_t World::share_of_memory_bytes() const {
  return host_memory_bytes() / (session_ ? session_->local_ranks().size() : 1);
}

bool World::all_ranks_fail(std::chrono::milliseconds patience) {
  if (!session_) return true;
  MPI_Request request = MPI_REQUEST_NULL;
  if (MPI_Ibarrier(failing_, &request) != MPI_SUCCESS) return false;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (int done = 0; std::chrono::steady_clock::now() < deadline;) {
    if (MPI_Test(&request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
    if (done) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

void World::abort(int code) {
  if (session_) session_->abort(code);
  std::_Exit(code);
}

}  // namespace longspan
