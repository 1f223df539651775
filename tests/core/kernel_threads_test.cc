// Kernels on two threads: the bits of one, except for products, whose sums oneDNN divides as it likes.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "core/runtime/parallel.h"
#include "tests/core/expect_error.h"
#include "tests/core/kernel_cases.h"

namespace longspan::test {
namespace {

class KernelThreads : public testing::TestWithParam<DTypeAndLevel> {};

TEST_P(KernelThreads, DoNotChangeABit) {
  const auto [dtype, level] = GetParam();
  const Context one_thread = make_cpu_context(dtype, level, 1), two_threads = make_cpu_context(dtype, level, 2),
                around_the_cache = make_cpu_context(dtype, level, 2, 0);
  for (const auto& [rows, n] : {std::pair<int64_t, int64_t>{1, 34000}, {300, 131}, {34001, 1}}) {
    for (const KernelCase& one : kernel_cases(rows, n)) {
      const auto want = run_case(one_thread, one, dtype);
      for (const Context* context : {&two_threads, &around_the_cache}) {
        const auto got = run_case(*context, one, dtype);
        for (size_t i = 0; i < got.size(); ++i) {
          ASSERT_TRUE(bytes(got[i]) == bytes(want[i]))
              << one.name << ", operand " << i << " of " << rows << " x " << n;
        }
      }
    }
  }
}

TEST_P(KernelThreads, MultiplyAlike) {
  const auto [dtype, level] = GetParam();
  const Context reference = make_reference_context(), cpu = make_cpu_context(dtype, level, 2);
  for (const KernelCase& one : gemm_cases(130, 70, 67)) {
    const auto want = run_case(reference, one, dtype), got = run_case(cpu, one, dtype);
    expect_close(got[2], want[2], tolerance(got[2].dtype()), "gemm");
  }
}

TEST_P(KernelThreads, LetTransfersOnDuringProducts) {
  expect_progress_in_products(std::get<0>(GetParam()), std::get<1>(GetParam()), 2);
}

INSTANTIATE_TEST_SUITE_P(All, KernelThreads,
                         testing::Combine(testing::Values(DType::kFloat32, DType::kBFloat16),
                                          testing::ValuesIn(supported_cpu_levels())),
                         parameter_name);

Context two_threads() {
  Context::Options options;
  options.num_threads = 2;
  return Context(options);
}

TEST(ParallelThreads, ForCoversEachElementOnce) {
  const Context context = two_threads();
  for (const int64_t count : {0, 1, 2, 3, 1000, 1001}) {
    for (const int64_t grain : {0, 1, 7, 5000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      std::atomic<int> pieces{0};
      parallel_for(context, count, grain, [&](int64_t begin, int64_t end) {
        ++pieces;
        for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
      });
      for (const auto& hit : hits) ASSERT_EQ(hit, 1) << count << " by " << grain;
      EXPECT_EQ(pieces, count == 0                                 ? 0
                        : count >= 2 * std::max<int64_t>(grain, 1) ? 2
                                                                   : 1)
          << count << " by " << grain;
    }
  }
}

TEST(ParallelThreads, TasksRunOnceEach) {
  const Context context = two_threads();
  std::vector<std::atomic<int>> hits(100);
  parallel_tasks(context, 100, [&](int64_t task, int thread) {
    EXPECT_TRUE(thread == 0 || thread == 1);
    ++hits[static_cast<size_t>(task)];
  });
  for (const auto& hit : hits) EXPECT_EQ(hit, 1);
}

// Each task appends to the lists of the two things it holds; only what keeps them apart makes that safe, and the order.
TEST(ParallelThreads, TasksThatHoldTheSameThingKeepTheirOrder) {
  const Context context = two_threads();
  constexpr int64_t kThings = 7;
  std::vector<OrderedTasks::Holds> holds;
  for (int64_t i = 0; i < 500; ++i) holds.push_back({i * i % kThings, kThings + i * 3 % kThings});
  std::vector<std::vector<int64_t>> order(2 * kThings), want(2 * kThings);
  for (size_t i = 0; i < holds.size(); ++i) {
    for (const int64_t thing : holds[i]) want[static_cast<size_t>(thing)].push_back(static_cast<int64_t>(i));
  }
  parallel_tasks(context, OrderedTasks(holds), [&](int64_t task, int) {
    for (const int64_t thing : holds[static_cast<size_t>(task)]) order[static_cast<size_t>(thing)].push_back(task);
  });
  EXPECT_EQ(order, want);
}

// The thread that waits for the task that fails must not wait for ever.
TEST(ParallelThreads, AFailureEndsTheTasksThatWaitForIt) {
  const Context context = two_threads();
  const std::vector<OrderedTasks::Holds> holds(50, {0, 1});
  std::atomic<int> begun{0};
  expect_error(ErrorKind::kData, {"the third"}, [&] {
    parallel_tasks(context, OrderedTasks(holds), [&](int64_t task, int) {
      ++begun;
      if (task == 2) raise(ErrorKind::kData, "the third");
    });
  });
  EXPECT_EQ(begun, 3);
}

TEST(ParallelThreads, AnExceptionComesBack) {
  const Context context = two_threads();
  expect_error(ErrorKind::kData, {"in the second half"}, [&] {
    parallel_for(context, 100, 1, [&](int64_t begin, int64_t) {
      if (begin > 0) raise(ErrorKind::kData, "in the second half");
    });
  });
}

// As many bytes as several threads share, in memory that held something else.
TEST(Context, ClearsAllOfATensorAndNothingElse) {
  Context::Options options;
  options.num_threads = 3;
  const Context context(options);
  constexpr int64_t kSize = 200001, kGuard = 64;
  const Tensor whole = context.empty({kSize + 2 * kGuard}, DType::kUInt8);
  std::memset(whole.raw(), 0x5a, whole.num_bytes());
  context.clear(whole.slice(0, kGuard, kGuard + kSize));
  for (int64_t i = 0; i < whole.num_elements(); ++i) {
    const bool inside = i >= kGuard && i < kGuard + kSize;
    ASSERT_EQ(whole.data<uint8_t>()[i], inside ? 0 : 0x5a) << i;
  }
  const Tensor matrix = context.zeros({4, 8}, DType::kFloat32);
  expect_error(ErrorKind::kInternal, {"not contiguous"}, [&] { context.clear(matrix.slice(1, 0, 4)); });
}

// As many bytes as several threads share, between rows that must stay as they are.
TEST(Context, CopiesRowsAndNothingElse) {
  Context::Options options;
  options.num_threads = 3;
  const Context context(options);
  constexpr int64_t kRows = 4001, kWidth = 37;
  const Tensor from = context.empty({kRows, kWidth + 3}, DType::kUInt8), to = context.empty({2 * kRows, kWidth}, DType::kUInt8);
  for (int64_t i = 0; i < from.num_elements(); ++i) from.data<uint8_t>()[i] = static_cast<uint8_t>(i % 89);
  std::memset(to.raw(), 0x5a, to.num_bytes());
  context.copy_rows(from.slice(1, 2, 2 + kWidth), to.every(0, 2));
  for (int64_t row = 0; row < 2 * kRows; ++row) {
    for (int64_t i = 0; i < kWidth; ++i) {
      const int want = row % 2 == 1 ? 0x5a : static_cast<int>((row / 2 * (kWidth + 3) + 2 + i) % 89);
      ASSERT_EQ(to.data<uint8_t>()[row * kWidth + i], want) << row << " " << i;
    }
  }
  const Tensor cube = context.zeros({4, 8, 2}, DType::kFloat32);
  expect_error(ErrorKind::kInternal, {"gaps"}, [&] { context.copy_rows(cube.slice(2, 0, 1), cube.slice(2, 1, 2)); });
}

}  // namespace
}  // namespace longspan::test
