#include <fmt/core.h>

#include <csignal>
#include <thread>

#include "core/runtime/context.h"
#include "parallel/comm/mpi/mpi_session.h"
#include "tests/mpi/mpi_modes.h"

namespace longspan::test {

namespace {

constexpr int kAbortCode = 6;
constexpr std::chrono::milliseconds kTimeout{500};

// A ring exchange in which the last rank never takes part.
void wait_for_the_silent(Communicator& world) {
  const Context context({});
  const int last = world.size() - 1;
  if (world.rank() == last) std::this_thread::sleep_for(std::chrono::minutes(5));
  const Tensor send = context.zeros({100}, DType::kFloat32), receive = context.zeros({100}, DType::kFloat32);
  world.send_recv(context.stream(), {send, last, receive, last}).wait();
}

void reduce_without_the_silent(Communicator& world) {
  const Context context({});
  if (world.rank() == world.size() - 1) std::this_thread::sleep_for(std::chrono::minutes(5));
  world.all_reduce(context.stream(), context.zeros({100}, DType::kFloat32), ReduceOp::kSum);
}

}  // namespace

int run_failure(const std::string& mode) {
  MpiSession session({.timeout = kTimeout});
  if (mode == "unwind") wait_for_the_silent(session.world());  // past the session, which must not block
  if (mode == "stop" && session.world().rank() == 1) std::raise(SIGSTOP);
  if (mode == "stop" || mode == "hang") std::this_thread::sleep_for(std::chrono::minutes(5));
  try {
    if (mode == "timeout") wait_for_the_silent(session.world());
    if (mode == "reduce") reduce_without_the_silent(session.world());
  } catch (const CommError& error) {
    fmt::print(stderr, "{}\n", error.what());
    session.abort(kAbortCode);
  }
  return 0;
}

}  // namespace longspan::test
