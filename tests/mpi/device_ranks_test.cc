// Ranks of MPI with a device each, or sharing one: collectives, messages, attention by every scheme and whole steps on every
// axis, against expected values and one rank. device_ranks_test [seconds that a rank waits for the others]
#include <fmt/core.h>

#include <cmath>

#include "parallel/comm/process_mesh.h"
#include "parallel/comm/ring_pass.h"
#include "tests/attention/sequence_case.h"
#include "tests/model/step_case.h"
#include "tests/mpi/device_meshes.h"
#include "tests/mpi/device_ranks.h"
#include "tests/support/device_under_test.h"
#include "tests/support/reference_context.h"

namespace longspan::test {
namespace {

using Value = std::function<double(int64_t)>;

// Written by the host, and on the device afterwards.
template <class T>
Tensor filled(const Context& context, const Shape& shape, const Value& value) {
  const Tensor tensor = context.host().empty(shape, dtype_of<T>());
  for (int64_t i = 0; i < tensor.num_elements(); ++i) tensor.data<T>()[i] = static_cast<T>(value(i));
  return context.to_device(tensor);
}

template <class T>
void expect_values(const Context& context, const Tensor& there, const Value& value, const char* what) {
  const Tensor tensor = context.to_host(there);
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    const T actual = tensor.data<T>()[i], expected = static_cast<T>(value(i));
    check(actual == expected, "{}: element {} is {}, not {}", what, i, actual, expected);
  }
}

void expect_none(const std::string& difference, const std::string& of) { check(difference.empty(), "{}: {}", of, difference); }

template <class T>
void check_reductions(const Context& context, Communicator& group, int64_t count) {
  const int size = group.size(), rank = group.rank();
  const Tensor sum = filled<T>(context, {count}, [&](int64_t i) { return static_cast<double>(rank + i); });
  group.all_reduce(context.stream(), sum, ReduceOp::kSum);
  expect_values<T>(
      context, sum, [&](int64_t i) { return size * (size - 1) / 2.0 + static_cast<double>(size * i); }, "sum");
  const Tensor largest = filled<T>(context, {count}, [&](int64_t i) { return static_cast<double>(i % 2 ? rank : -rank); });
  group.all_reduce(context.stream(), largest, ReduceOp::kMax);
  expect_values<T>(context, largest, [&](int64_t i) { return i % 2 ? size - 1.0 : 0.0; }, "max");
}

void check_collectives(const Context& context, Communicator& group) {
  const int size = group.size(), rank = group.rank();
  const auto value_of = [](int owner, int64_t i) { return owner * 7.0 + static_cast<double>(i); };
  const auto own = [&](int64_t i) { return value_of(rank, i); };
  for (const int64_t count : {0, 1, 1000, 200'003}) {
    check_reductions<double>(context, group, count);
    check_reductions<float>(context, group, count);
    check_reductions<int64_t>(context, group, count);
    for (int root = 0; root < size; ++root) {
      const Tensor data = filled<int32_t>(context, {count}, own);
      group.broadcast(context.stream(), data, root);
      expect_values<int32_t>(context, data, [&](int64_t i) { return value_of(root, i); }, "broadcast");
    }
    const Tensor all = context.zeros({size, count}, DType::kFloat32);
    group.all_gather(context.stream(), filled<float>(context, {count}, own), all);
    for (int r = 0; r < size; ++r) {
      expect_values<float>(context, all.select(0, r), [&](int64_t i) { return value_of(r, i); }, "gathered");
    }
    group.barrier(context.stream());
  }
  const Tensor nan = filled<float>(context, {1}, [&](int64_t) { return rank == size - 1 ? NAN : 5.0; });
  group.all_reduce(context.stream(), nan, ReduceOp::kMax);
  check(std::isnan(context.to_host(nan).data<float>()[0]), "a NaN did not survive a maximum");
}

// Even, uneven, now and then empty, and large shards.
void check_rings(Context& context, Communicator& group) {
  const std::vector<std::function<int64_t(int)>> counts = {[](int) { return 5; }, [](int owner) { return owner % 2 ? 0 : 100; },
                                                           [](int owner) { return 300'000 + owner; }};
  const auto value_of = [](int owner, int64_t i) { return 1000.0 * owner + static_cast<double>(i % 999); };
  for (const auto& count : counts) {
    const auto shard = filled<float>(context, {count(group.rank())}, [&](int64_t i) { return value_of(group.rank(), i); });
    RingPass ring(context, group, {shard}, [&](int owner) { return std::vector<Shape>{{count(owner)}}; });
    for (const RingHop& hop : ring) {
      expect_values<float>(context, hop.tensors[0], [&](int64_t i) { return value_of(hop.owner, i); }, "shard");
    }
  }
}

void check_attention(Context& context, Communicator& group) {
  const DType dtype = context.compute_dtype();
  Context reference = make_context(DType::kFloat64);
  const auto alone = make_self_communicator();
  for (const SequenceCase& problem : {SequenceCase{LayoutType::kZigzag, Masking::kCausal, 67, 1, 4, 2, 1, 64},
                                     SequenceCase{LayoutType::kStriped, Masking::kFull, 41, 1, 1, 2, 2, 20}}) {
    const SequenceResult want = attend_on(problem, reference, *alone, {.scale = 0.3}, dtype, 5);
    for (const auto scheme : {ContextScheme::kRing, ContextScheme::kAllToAll, ContextScheme::kAllGather,
                              ContextScheme::kHybrid, ContextScheme::kDoubleRing}) {
      // More ranks than heads cannot exchange them.
      const ContextSchemeOptions options = {.scheme = scheme, .inner = 2, .scale = 0.3};
      if (!scheme_problem(scheme, options.inner, group.size(), problem.num_heads).empty()) continue;
      const SequenceResult got = sum_of_ranks(attend_on(problem, context, group, options, dtype, 5), context, group);
      const std::string of = fmt::format("{}, {}", describe(scheme, options.inner), problem.to_string());
      expect_none(difference(got, want, dtype == DType::kFloat32 ? 3e-6 : 5e-3), of);
    }
  }
}

void check_step(Context& context, Communicator& group) {
  const bool exact = context.compute_dtype() == DType::kFloat32;
  const ModelSpec spec = small_spec(exact ? 6 : 64);
  Context reference = make_context(DType::kFloat64);
  const Step got = step_on_ring(context, group, spec, LayoutType::kZigzag);
  expect_none(difference(got, one_step(reference, spec), exact ? 1e-5 : 0.03), "a step");
}

void check_ranks(MpiSession& session) {
  const int ordinal = ordinal_of_rank(session);
  Context context = device_context(DType::kFloat32, ordinal), in_bfloat16 = device_context(DType::kBFloat16, ordinal);
  const auto world = group_of_devices(session);
  check_collectives(context, *world);
  check_rings(context, *world);
  {
    const auto half = world->split(world->rank() % 2, -world->rank(), "half");
    check_collectives(context, *half);
    check_rings(context, *half);
    const ProcessMesh mesh(*world, {.data = 2, .context = world->size() / 2});
    check_rings(context, mesh.axis(Axis::kContext));
    check_rings(context, mesh.axis(Axis::kData));
  }
  for (Context* c : {&context, &in_bfloat16}) {
    check_attention(*c, *world);
    check_step(*c, *world);
  }
  check_meshes(*world, ordinal);
  world->barrier(context.stream());
  fmt::print("rank {} of {} on device {} ok\n", world->rank(), world->size(), ordinal);
}

}  // namespace
}  // namespace longspan::test

int main(int argc, char** argv) {
  using namespace longspan;
  try {
    MpiSession session({.timeout = std::chrono::seconds(argc > 1 ? std::stoi(argv[1]) : 60)});
    try {
      test::check_ranks(session);
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
