#include <atomic>
#include <cmath>
#include <cstring>

#include "tests/parallel/comm_support.h"

namespace longspan::test {
namespace {

constexpr int64_t kCounts[] = {0, 1, 3, 1000};

template <class T>
void check_all_reduce(int size, int64_t count) {
  run_in_process(size, [&](Communicator& group) {
    const Context context = make_context();
    const int rank = group.rank();
    const Tensor sum = filled<T>(context, {count}, [&](int64_t i) { return static_cast<double>(rank + 1 + i); });
    group.all_reduce(context.stream(), sum, ReduceOp::kSum);
    expect_values<T>(sum, [&](int64_t i) { return size * (size + 1) / 2.0 + static_cast<double>(size * i); }, "sum");
    const Tensor largest =
        filled<T>(context, {count}, [&](int64_t i) { return static_cast<double>(i % 2 ? rank : -rank); });
    group.all_reduce(context.stream(), largest, ReduceOp::kMax);
    expect_values<T>(largest, [&](int64_t i) { return i % 2 ? size - 1.0 : 0.0; }, "max");
  });
}

TEST(Collectives, AllReduceOfEachDtypeSizeAndCount) {
  for (int size = 1; size <= 8; ++size) {
    for (int64_t count : kCounts) {
      check_all_reduce<double>(size, count);
      check_all_reduce<float>(size, count);
      check_all_reduce<int64_t>(size, count);
    }
  }
}

// Values of very different size, so that another order of summation would give other bits.
Tensor rounding_values(const Context& context, int rank) {
  return filled<float>(context, {257}, [rank](int64_t i) {
    return std::sin(static_cast<double>(i * 7 + rank)) * std::pow(10.0, static_cast<double>((i + rank * 3) % 9) - 4.0);
  });
}

TEST(Collectives, AllReduceSumsInTheOrderOfRanks) {
  for (int size : {2, 3, 8}) {
    const Context context = make_context();
    const Tensor expected = rounding_values(context, 0);
    for (int rank = 1; rank < size; ++rank) {
      const Tensor term = rounding_values(context, rank);
      for (int64_t i = 0; i < 257; ++i) expected.data<float>()[i] += term.data<float>()[i];
    }
    run_in_process(size, [&](Communicator& group) {
      const Context own = make_context();
      const Tensor data = rounding_values(own, group.rank());
      group.all_reduce(own.stream(), data, ReduceOp::kSum);
      EXPECT_EQ(std::memcmp(data.raw(), expected.raw(), data.num_bytes()), 0);
    });
  }
}

TEST(Collectives, MaximumKeepsNan) {
  run_in_process(3, [&](Communicator& group) {
    const Context context = make_context();
    const Tensor data = filled<float>(context, {1}, [&](int64_t) { return group.rank() == 1 ? NAN : 5.0; });
    group.all_reduce(context.stream(), data, ReduceOp::kMax);
    EXPECT_TRUE(std::isnan(data.data<float>()[0]));
  });
}

TEST(Collectives, BroadcastFromEachRoot) {
  for (int size = 1; size <= 8; ++size) {
    run_in_process(size, [&](Communicator& group) {
      const Context context = make_context();
      for (int root = 0; root < size; ++root) {
        for (int64_t count : kCounts) {
          const Tensor data =
              filled<int32_t>(context, {count}, [&](int64_t i) { return static_cast<double>(group.rank() * 5000 + i); });
          group.broadcast(context.stream(), data, root);
          expect_values<int32_t>(data, [&](int64_t i) { return static_cast<double>(root * 5000 + i); }, "broadcast");
        }
      }
    });
  }
}

TEST(Collectives, AllGatherOrdersByRank) {
  for (int size = 1; size <= 8; ++size) {
    run_in_process(size, [&](Communicator& group) {
      const Context context = make_context();
      for (int64_t count : kCounts) {
        const Tensor input =
            filled<uint8_t>(context, {2, count}, [&](int64_t i) { return static_cast<double>((group.rank() + i) % 200); });
        const Tensor output = context.zeros({size, 2, count}, DType::kUInt8);
        group.all_gather(context.stream(), input, output);
        for (int r = 0; r < size; ++r) {
          expect_values<uint8_t>(output.select(0, r), [&](int64_t i) { return static_cast<double>((r + i) % 200); },
                                 "gathered");
        }
      }
    });
  }
}

TEST(Collectives, SlicesAreLeftAlone) {
  run_in_process(2, [](Communicator& group) {
    const Context context = make_context();
    const Tensor whole = filled<float>(context, {4, 3}, [](int64_t i) { return static_cast<double>(i); });
    group.all_reduce(context.stream(), whole.slice(0, 1, 2), ReduceOp::kSum);
    expect_values<float>(whole, [](int64_t i) { return static_cast<double>(3 <= i && i < 6 ? 2 * i : i); }, "whole");
  });
}

TEST(Collectives, BarrierHoldsUntilAllHaveCome) {
  for (int size = 1; size <= 8; ++size) {
    std::atomic<int> arrived = 0;
    run_in_process(size, [&](Communicator& group) {
      const Context context = make_context();
      ++arrived;
      group.barrier(context.stream());
      EXPECT_EQ(arrived, size);
    });
  }
}

TEST(Collectives, SplitOrdersByKeyThenRank) {
  for (int size = 1; size <= 8; ++size) {
    run_in_process(size, [&](Communicator& group) {
      const Context context = make_context();
      const int color = group.rank() % 2;
      const auto half = group.split(color, -group.rank(), "half");
      const int half_size = (size + 1 - color) / 2;
      ASSERT_EQ(half->size(), half_size);
      EXPECT_EQ(half->rank(), half_size - 1 - group.rank() / 2);
      EXPECT_EQ(half->name(), "half");
      const Tensor sum = filled<int64_t>(context, {1}, [&](int64_t) { return group.rank(); });
      half->all_reduce(context.stream(), sum, ReduceOp::kSum);
      int64_t expected = 0;
      for (int r = color; r < size; r += 2) expected += r;
      EXPECT_EQ(sum.data<int64_t>()[0], expected);
      const auto quarter = half->split(0, 0, "quarter");  // one color and key: the same group again
      EXPECT_EQ(quarter->rank(), half->rank());
      quarter->barrier(context.stream());
    });
  }
}

TEST(Collectives, MisuseNamesBothValues) {
  const auto self = make_self_communicator();
  Context context = make_context();
  Stream& stream = context.stream();
  const Tensor data = context.zeros({2, 3}, DType::kFloat32);
  const auto error = [&](const std::function<void()>& call) { return message_of<Error>(call); };
  EXPECT_TRUE(contains(error([&] { self->all_reduce(stream, Tensor(), ReduceOp::kSum); }), "no tensor"));
  EXPECT_TRUE(contains(error([&] { self->all_reduce(stream, data.slice(1, 0, 2), ReduceOp::kSum); }), "not contiguous"));
  EXPECT_TRUE(contains(
      error([&] { self->all_reduce(stream, context.zeros({1}, DType::kBFloat16), ReduceOp::kSum); }), "not bfloat16"));
  EXPECT_TRUE(contains(error([&] { self->broadcast(stream, data, 1); }), "rank 1, the group has ranks 0 to 0"));
  EXPECT_TRUE(contains(error([&] { self->all_gather(stream, data, context.zeros({1, 3, 2}, DType::kFloat32)); }),
                       "[1, 3, 2], not [1, 2, 3]"));
  EXPECT_TRUE(contains(error([&] { self->all_gather(stream, data, context.zeros({1, 2, 3}, DType::kFloat64)); }),
                       "float64, not float32"));
  EXPECT_TRUE(contains(error([&] { self->all_gather(stream, data, data.reshape({1, 2, 3})); }), "overlap"));
  EXPECT_TRUE(contains(error([&] { (void)self->send_recv(stream, {.send = data, .to = -1, .receive = data}); }), "-1"));
  EXPECT_TRUE(contains(error([&] { (void)self->send_recv(stream, {.send = data, .receive = data}); }), "overlap"));
  EXPECT_TRUE(contains(error([&] { (void)self->split(-1, 0, "x"); }), "color -1"));
}

}  // namespace
}  // namespace longspan::test
