// Communicators of MPI against expected values: mpi_comm_test check [piece_bytes]. Other modes: mpi_failures.cc.
#include <fmt/core.h>

#include <cmath>
#include <cstring>

#include "core/runtime/context.h"
#include "parallel/comm/mpi/mpi_session.h"
#include "parallel/comm/process_mesh.h"
#include "parallel/comm/ring_pass.h"
#include "tests/mpi/mpi_modes.h"

namespace longspan::test {
namespace {

using Value = std::function<double(int64_t)>;

template <class T>
Tensor filled(const Context& context, const Shape& shape, const Value& value) {
  Tensor tensor = context.empty(shape, dtype_of<T>());
  for (int64_t i = 0; i < tensor.num_elements(); ++i) tensor.data<T>()[i] = static_cast<T>(value(i));
  return tensor;
}

template <class T>
void expect_values(const Tensor& tensor, const Value& value, const char* what) {
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    const T actual = tensor.data<T>()[i], expected = static_cast<T>(value(i));
    check(actual == expected, "{}: element {} is {}, not {}", what, i, actual, expected);
  }
}

template <class T>
void check_reductions(const Context& context, Communicator& group, int64_t count) {
  const int size = group.size(), rank = group.rank();
  const Tensor sum = filled<T>(context, {count}, [&](int64_t i) { return static_cast<double>(rank + i); });
  group.all_reduce(context.stream(), sum, ReduceOp::kSum);
  expect_values<T>(sum, [&](int64_t i) { return size * (size - 1) / 2.0 + static_cast<double>(size * i); }, "sum");
  const Tensor largest =
      filled<T>(context, {count}, [&](int64_t i) { return static_cast<double>(i % 2 ? rank : -rank); });
  group.all_reduce(context.stream(), largest, ReduceOp::kMax);
  expect_values<T>(largest, [&](int64_t i) { return i % 2 ? size - 1.0 : 0.0; }, "max");
}

void check_collectives(const Context& context, Communicator& group) {
  const int size = group.size(), rank = group.rank();
  Stream& stream = context.stream();
  const auto value_of = [](int owner, int64_t i) { return owner * 7.0 + static_cast<double>(i); };
  const auto own = [&](int64_t i) { return value_of(rank, i); };
  for (int64_t count : {0, 1, 1000, 20'000}) {
    check_reductions<double>(context, group, count);
    check_reductions<float>(context, group, count);
    check_reductions<int64_t>(context, group, count);
    for (int root = 0; root < size; ++root) {
      const Tensor data = filled<int32_t>(context, {count}, own);
      group.broadcast(stream, data, root);
      expect_values<int32_t>(data, [&](int64_t i) { return value_of(root, i); }, "broadcast");
    }
    const Tensor input = filled<float>(context, {count}, own);
    const Tensor output = context.zeros({size, count}, DType::kFloat32);
    group.all_gather(stream, input, output);
    for (int r = 0; r < size; ++r) {
      expect_values<float>(output.select(0, r), [&](int64_t i) { return value_of(r, i); }, "gathered");
    }
    group.barrier(stream);
  }
  const Tensor nan = filled<float>(context, {1}, [&](int64_t) { return rank == size - 1 ? NAN : 5.0; });
  group.all_reduce(stream, nan, ReduceOp::kMax);
  check(size == 1 || std::isnan(nan.data<float>()[0]), "a NaN did not survive a maximum: {}", nan.data<float>()[0]);
}

// Values that round differently in another order: the bits must repeat, and be those of all ranks.
void check_bits_repeat(const Context& context, Communicator& group) {
  for (int64_t count : {257, 30'011}) {
    Tensor first;
    for (int repeat = 0; repeat < 8; ++repeat) {
      const Tensor data = filled<float>(context, {count}, [&](int64_t i) {
        return std::sin(static_cast<double>(i * 7 + group.rank())) * std::pow(10.0, static_cast<double>(i % 9) - 4.0);
      });
      group.all_reduce(context.stream(), data, ReduceOp::kSum);
      if (!first.defined()) first = data;
      const bool same = std::memcmp(first.raw(), data.raw(), data.num_bytes()) == 0;
      check(same, "sum {} of {} floats has other bits", repeat, count);
    }
    const Tensor all = context.zeros({group.size(), count}, DType::kFloat32);
    group.all_gather(context.stream(), first, all);
    for (int r = 0; r < group.size(); ++r) {
      check(std::memcmp(first.raw(), all.select(0, r).raw(), first.num_bytes()) == 0, "rank {} has other bits", r);
    }
  }
}

void check_rings(Context& context, Communicator& group) {
  const std::vector<std::function<int64_t(int)>> counts = {
      [](int) { return 5; }, [](int owner) { return 300 * owner; }, [](int owner) { return owner % 2 ? 0 : 100; },
      [](int) { return 0; }, [](int owner) { return 100'000 + owner; }};  // the last: more than MPI buffers
  const auto value_of = [](int owner, int64_t i) { return 1000.0 * owner + static_cast<double>(i % 999); };
  const auto accumulate = [](const Tensor& from, const Tensor& into) {
    for (int64_t i = 0; i < into.num_elements(); ++i) into.data<float>()[i] += from.data<float>()[i];
  };
  for (const auto& count : counts) {
    const auto shapes_of = [&](int owner) { return std::vector<Shape>{{count(owner)}}; };
    const auto shard = [&](int owner) {
      return filled<float>(context, {count(owner)}, [&](int64_t i) { return value_of(owner, i); });
    };
    RingPass ring(context, group, {shard(group.rank())}, shapes_of);
    TravellingSum home(context, group, shapes_of, accumulate);
    for (const RingHop& hop : ring) {
      for (int tile = 0; tile < 10; ++tile) context.progress();
      expect_values<float>(hop.tensors[0], [&](int64_t i) { return value_of(hop.owner, i); }, "shard");
      home.add({shard(hop.owner)});
    }
    expect_values<float>(home.finish()[0], [&](int64_t i) { return group.size() * value_of(group.rank(), i); }, "sum");
  }
}

void check_groups(Context& context, Communicator& world) {
  const int size = world.size(), rank = world.rank();
  const auto half = world.split(rank % 2, -rank, "half");
  check(half->size() == (size + 1 - rank % 2) / 2, "half of {} ranks has {}", size, half->size());
  check(half->rank() == half->size() - 1 - rank / 2, "rank {} has rank {} in its half", rank, half->rank());
  check_collectives(context, *half);
  check_rings(context, *half);
  const int data = size % 2 ? 1 : 2, row = size / data;
  const ProcessMesh mesh(world, {.data = data, .context = row});
  check(mesh.coordinate(Axis::kData) == rank / row && mesh.coordinate(Axis::kContext) == rank % row,
        "rank {} is at ({}, {})", rank, mesh.coordinate(Axis::kData), mesh.coordinate(Axis::kContext));
  check_rings(context, mesh.axis(Axis::kContext));
  check_collectives(context, mesh.replicas());
}

// Messages of another size than expected raise; dropped transfers finish behind the scenes.
void check_misuse(const Context& context, Communicator& group) {
  const int next = (group.rank() + 1) % group.size(), previous = (group.rank() + group.size() - 1) % group.size();
  for (int64_t num_sent : {1, 3}) {
    bool raised = false;
    try {
      const Tensor send = context.zeros({num_sent}, DType::kFloat32), receive = context.zeros({2}, DType::kFloat32);
      group.send_recv(context.stream(), {send, next, receive, previous}).wait();
    } catch (const Error&) {
      raised = true;
    }
    check(raised, "{} elements were sent, 2 received, and nobody minded", num_sent);
  }
  try {
    constexpr int64_t kMoreThanMpiBuffers = 1'000'000;
    const Tensor send = context.zeros({kMoreThanMpiBuffers}, DType::kFloat32);
    const Tensor receive = context.zeros({kMoreThanMpiBuffers}, DType::kFloat32);
    const Work dropped = group.send_recv(context.stream(), {send, next, receive, previous});
    throw std::logic_error("between post and wait");
  } catch (const std::logic_error&) {
  }
}

void check_session(MpiSession& session) {
  Context context({});
  Communicator& world = session.world();
  Communicator& local = session.local_ranks();
  check(local.size() == world.size(), "{} of {} ranks are local", local.size(), world.size());
  check(local.rank() == world.rank(), "rank {} has local rank {}", world.rank(), local.rank());
  check(!session.host_name().empty(), "the host of rank {} has no name", world.rank());
  check_collectives(context, world);
  check_bits_repeat(context, world);
  check_rings(context, world);
  check_groups(context, world);
  check_misuse(context, world);
  world.barrier(context.stream());
  for (int i = 0; i < 3; ++i) check_rings(context, world);  // the dropped transfer of check_misuse is in their way
  fmt::print("rank {} ok\n", world.rank());
}

}  // namespace
}  // namespace longspan::test

int main(int argc, char** argv) {
  using namespace longspan;
  try {
    const std::string mode = argc > 1 ? argv[1] : "check";
    if (mode != "check") return test::run_failure(mode);
    MpiSession::Options options{.timeout = std::chrono::seconds(30)};
    if (argc > 2) options.piece_bytes = std::stoul(argv[2]);
    MpiSession session(options);
    try {
      test::check_session(session);
    } catch (const std::exception& error) {
      fmt::print(stderr, "rank {}: {}\n", session.world().rank(), error.what());
      session.abort(1);
    }
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 3;
  }
  return 0;
}
