// Sums over a ring that move while the caller computes.
#include "parallel/data/ring_reduction.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "core/base/bfloat16.h"
#include "core/kernels/backends.h"
#include "parallel/comm/backends.h"
#include "tests/support/virtual_device.h"

namespace longspan::test {
namespace {

Context::Options reference_options() {
  auto kernels = std::make_shared<KernelSet>("reference");
  add_reference_kernels(*kernels);
  Context::Options options;
  options.compute_dtype = DType::kFloat64;
  options.kernels = kernels;
  return options;
}
Context reference_context() { return Context(reference_options()); }

// Numbers whose sums are exact, so that the order does not matter.
double number(int rank, int64_t tensor, int64_t i) { return static_cast<double>((rank + 1) * 1000 + tensor * 100 + i); }

Tensor filled(const Context& context, int rank, int64_t tensor, int64_t n) {
  const Tensor data = context.empty({n}, DType::kFloat64, MemoryTag::kGradients);
  for (int64_t i = 0; i < n; ++i) data.data<double>()[i] = number(rank, tensor, i);
  return data;
}

void expect_sums(const Tensor& data, int64_t tensor, int num_ranks, const Piece& where) {
  for (int64_t i = where.begin; i < where.end; ++i) {
    double sum = 0;
    for (int rank = 0; rank < num_ranks; ++rank) sum += number(rank, tensor, i);
    EXPECT_EQ(data.data<double>()[i], sum) << "element " << i << " of tensor " << tensor;
  }
}

const std::vector<int64_t> kSizes = {0, 1, 2, 7, 64, 65};

TEST(RingReduction, SumsTensorsOfEverySizeEverywhere) {
  for (const int num_ranks : {1, 2, 3, 4, 8}) {
    run_in_process(num_ranks, [&](Communicator& group) {
      Context context = reference_context();
      std::vector<Tensor> tensors;
      RingReduction reduction(context, group, RingReduction::Result::kAll);
      for (size_t t = 0; t < kSizes.size(); ++t) {
        tensors.push_back(filled(context, group.rank(), static_cast<int64_t>(t), kSizes[t]));
        reduction.start(tensors.back());
        context.progress();
      }
      reduction.finish();
      for (size_t t = 0; t < kSizes.size(); ++t) expect_sums(tensors[t], static_cast<int64_t>(t), num_ranks, {0, kSizes[t]});
    });
  }
}

TEST(RingReduction, GivesEachRankItsPiece) {
  for (const int num_ranks : {2, 3, 5}) {
    run_in_process(num_ranks, [&](Communicator& group) {
      Context context = reference_context();
      for (const int64_t n : kSizes) {
        const Tensor data = filled(context, group.rank(), 0, n);
        RingReduction reduction(context, group, RingReduction::Result::kOwnPiece);
        reduction.start(data);
        reduction.finish();
        expect_sums(data, 0, num_ranks, piece_of(n, group.rank(), num_ranks));
      }
    });
  }
}

TEST(RingReduction, PiecesCoverEverythingOnceAndEvenly) {
  for (const int64_t n : {0, 1, 5, 64, 1001}) {
    for (const int num_ranks : {1, 2, 3, 7}) {
      int64_t end = 0;
      for (int rank = 0; rank < num_ranks; ++rank) {
        const Piece piece = piece_of(n, rank, num_ranks);
        EXPECT_EQ(piece.begin, end);
        EXPECT_LE(piece.end - piece.begin, n / num_ranks + 1);
        end = piece.end;
      }
      EXPECT_EQ(end, n);
    }
  }
}

TEST(RingReduction, MovesInTheHookOfKernels) {
  run_in_process(2, [](Communicator& group) {
    Context context = reference_context();
    const Tensor data = filled(context, group.rank(), 0, 8);
    RingReduction reduction(context, group, RingReduction::Result::kAll);
    reduction.start(data);
    const auto done = [&] { return data.data<double>()[0] == number(0, 0, 0) + number(1, 0, 0) &&
                                   data.data<double>()[7] == number(0, 0, 7) + number(1, 0, 7); };
    const auto begin = std::chrono::steady_clock::now();
    while (!done() && std::chrono::steady_clock::now() - begin < std::chrono::seconds(30)) context.progress();
    EXPECT_TRUE(done()) << "nothing but the hook was called";
    reduction.finish();
  });
}

TEST(RingReduction, MovesTheBytesOfItsFormula) {
  constexpr int kRanks = 4;
  constexpr int64_t kCount = 64;
  for (const bool all : {true, false}) {
    run_in_process(kRanks, [&](Communicator& plain) {
      const auto log = std::make_shared<CommLog>();
      const auto group = make_recording_communicator(plain, log);
      Context context = reference_context();
      RingReduction reduction(context, *group, all ? RingReduction::Result::kAll : RingReduction::Result::kOwnPiece);
      reduction.start(filled(context, group->rank(), 0, kCount));
      reduction.finish();
      const size_t once = kCount * sizeof(double) * (kRanks - 1) / kRanks;
      EXPECT_EQ(log->bytes_sent(), (all ? 2 : 1) * once);
      EXPECT_EQ(log->bytes_received(), (all ? 2 : 1) * once);
    });
  }
}

// The order of each sum is one rank's, so rounding is the same everywhere and every time.
TEST(RingReduction, GivesAllRanksTheSameBits) {
  constexpr int kRanks = 5;
  constexpr int64_t kCount = 33;
  std::vector<std::vector<double>> results(kRanks);
  const auto sum = [&] {
    run_in_process(kRanks, [&](Communicator& group) {
      Context context = reference_context();
      const Tensor data = context.empty({kCount}, DType::kFloat64);
      for (int64_t i = 0; i < kCount; ++i) data.data<double>()[i] = 1.0 / static_cast<double>((group.rank() + 3) * (i + 7));
      RingReduction reduction(context, group, RingReduction::Result::kAll);
      reduction.start(data);
      reduction.finish();
      results[static_cast<size_t>(group.rank())].assign(data.data<double>(), data.data<double>() + kCount);
    });
  };
  sum();
  const std::vector<double> first = results[0];
  for (const auto& result : results) EXPECT_EQ(result, first);
  sum();
  EXPECT_EQ(results[3], first);
}

// As the microbatches of a step do: sums are added to what is there, tensors go as they are done, pieces may be empty.
TEST(RingReduction, AddsSumsToThePieceOfEachRankAndKeepsFewTensors) {
  constexpr int kRounds = 3;
  for (const int num_ranks : {1, 2, 3, 5}) {
    run_in_process(num_ranks, [&](Communicator& group) {
      const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
      Context::Options options = reference_options();
      options.memory = memory;
      Context context(options);
      std::vector<Tensor> own;
      for (const int64_t n : kSizes) {
        const Piece piece = piece_of(n, group.rank(), num_ranks);
        own.push_back(context.zeros({piece.end - piece.begin}, DType::kFloat64));
      }
      RingReduction reduction(context, group, RingReduction::Result::kOwnPiece);
      const size_t largest = static_cast<size_t>(kSizes.back()) * sizeof(double);
      for (int round = 0; round < kRounds; ++round) {
        for (size_t t = 0; t < kSizes.size(); ++t) {
          Tensor data = filled(context, group.rank(), static_cast<int64_t>(t), kSizes[t]);
          if (num_ranks > 1) reduction.start_into(std::move(data), own[t]);
          const size_t alive = memory->statistics().current_by_tag[static_cast<size_t>(MemoryTag::kGradients)];
          EXPECT_LE(alive, RingReduction::kMostTaken * largest) << "round " << round << ", tensor " << t;
        }
      }
      reduction.finish();
      EXPECT_EQ(memory->statistics().current_by_tag[static_cast<size_t>(MemoryTag::kGradients)], 0u);
      for (size_t t = 0; t < kSizes.size() && num_ranks > 1; ++t) {
        const int64_t begin = piece_of(kSizes[t], group.rank(), num_ranks).begin;
        for (int64_t i = 0; i < own[t].num_elements(); ++i) {
          double sum = 0;
          for (int rank = 0; rank < num_ranks; ++rank) sum += kRounds * number(rank, static_cast<int64_t>(t), begin + i);
          EXPECT_EQ(own[t].data<double>()[i], sum) << "element " << i << " of tensor " << t;
        }
      }
    });
  }
}

TEST(RingReduction, OnlySumsOfPiecesGoElsewhere) {
  run_in_process(2, [](Communicator& group) {
    Context context = reference_context();
    RingReduction reduction(context, group, RingReduction::Result::kAll);
    const Tensor data = filled(context, group.rank(), 0, 4);
    EXPECT_THROW(reduction.start_into(data, data.slice(0, 0, 2)), Error);
  });
}

// Bytes of any dtype, whatever the context adds in.
template <class T>
void gather(DType dtype, int num_ranks) {
  SCOPED_TRACE(fmt::format("{} over {} ranks", name(dtype), num_ranks));
  const auto value = [](int rank, int64_t i) { return static_cast<float>(rank + 1) * 16 + static_cast<float>(i % 8); };
  run_in_process(num_ranks, [&](Communicator& plain) {
    const auto log = std::make_shared<CommLog>();
    const auto group = make_recording_communicator(plain, log);
    Context context = reference_context();
    RingReduction reduction(context, *group, RingReduction::Result::kGathered);
    std::vector<Tensor> tensors;
    size_t sent = 0;
    for (const int64_t n : kSizes) {
      const Tensor data = context.zeros({n}, dtype);
      const Piece own = piece_of(n, group->rank(), num_ranks), unsent = piece_of(n, (group->rank() + 1) % num_ranks, num_ranks);
      for (int64_t i = own.begin; i < own.end; ++i) data.data<T>()[i] = static_cast<T>(value(group->rank(), i));
      sent += static_cast<size_t>(num_ranks > 1 ? n - (unsent.end - unsent.begin) : 0) * sizeof(T);
      tensors.push_back(data);
      reduction.start(data);
    }
    reduction.finish();
    EXPECT_EQ(log->bytes_sent(), sent) << "all but the next rank's piece";
    for (const Tensor& data : tensors) {
      for (int rank = 0; rank < num_ranks; ++rank) {
        const Piece piece = piece_of(data.num_elements(), rank, num_ranks);
        for (int64_t i = piece.begin; i < piece.end; ++i) {
          EXPECT_EQ(static_cast<float>(data.data<T>()[i]), value(rank, i)) << "element " << i << " of " << data.num_elements();
        }
      }
    }
  });
}

TEST(RingReduction, GathersPiecesOfEverySize) {
  for (const int num_ranks : {1, 2, 3, 5, 8}) {
    gather<bfloat16>(DType::kBFloat16, num_ranks);
    gather<float>(DType::kFloat32, num_ranks);
  }
}

// One tensor's wait is not that for those behind it: two hops of three ranks, of which one computes.
TEST(RingReduction, WaitsForNoMoreThanItIsAsked) {
  std::atomic<bool> first_is_there = false;
  run_in_process(3, [&](Communicator& group) {
    Context context = reference_context();
    RingReduction reduction(context, group, RingReduction::Result::kAll);
    const Tensor first = filled(context, group.rank(), 0, 9), second = filled(context, group.rank(), 1, 9);
    reduction.start(first);
    reduction.start(second);
    reduction.finish(first);
    expect_sums(first, 0, 3, {0, 9});
    if (group.rank() == 0) {
      reduction.finish(first);  // once more
      first_is_there = true;
    } else {
      const auto begin = std::chrono::steady_clock::now();
      while (!first_is_there && std::chrono::steady_clock::now() - begin < std::chrono::seconds(30)) std::this_thread::yield();
      EXPECT_TRUE(first_is_there) << "the second needs ranks that do nothing";
    }
    reduction.finish();
    expect_sums(second, 1, 3, {0, 9});
  });
}

// On a device in virtual time. What a rank computes itself may take longer than peers are waited for.
TEST(RingReduction, WaitsForComputeOfADeviceHoweverLong) {
  constexpr int64_t kHourNs = 3'600'000'000'000;
  run_in_process(2, [&](Communicator& threads) {
    VirtualDevice device;
    const auto group = make_staging_communicator(threads);
    Context::Options options = reference_options();
    options.device.type = DeviceType::kCuda;
    options.memory = options.host_memory = std::make_shared<HostResource>();
    options.stream = device.stream();
    Context context(options);
    RingReduction reduction(context, *group, RingReduction::Result::kAll);
    const Tensor data = filled(context, group->rank(), 0, 8);
    reduction.after_compute();  // nothing is under way
    EXPECT_LT(device.now_ns(), kHourNs);
    reduction.start(data);
    device.compute().work(kHourNs);
    reduction.after_compute();
    EXPECT_GE(device.now_ns(), kHourNs) << "the host did not wait";
    reduction.finish();
    expect_sums(data, 0, 2, {0, 8});
  });
}

// All ranks learn of it where they wait, and none hangs.
TEST(RingReduction, APeerThatFailsIsAnErrorWhereRanksWait) {
  using Result = RingReduction::Result;
  enum class Wait { kFinish, kStartInto };
  for (const auto& [result, wait] : {std::pair{Result::kAll, Wait::kFinish}, {Result::kOwnPiece, Wait::kFinish},
                                     {Result::kGathered, Wait::kFinish}, {Result::kOwnPiece, Wait::kStartInto}}) {
    for (const bool in_hook : {false, true}) {
      std::atomic<int> told = 0;
      std::barrier all_started(3);
      const auto body = [&](Communicator& plain) {
        const auto group = make_faulty_communicator(plain, {.fail_at = plain.rank() == 1 ? 1 : -1});
        Context context = reference_context();
        const Tensor own = context.zeros({3}, DType::kFloat64);
        RingReduction reduction(context, *group, result);
        const auto start = [&] {
          Tensor data = filled(context, group->rank(), 0, 9);
          if (wait == Wait::kFinish) return reduction.start(data);
          reduction.start_into(data, own);
        };
        start();
        if (wait == Wait::kFinish) start();  // the first is all there for a rank that needs nothing more of the one that failed
        all_started.arrive_and_wait();  // a group that has failed takes nothing more
        for (int i = 0; i < 100 && in_hook; ++i) context.progress();  // must not raise
        try {
          for (size_t i = 0; i <= RingReduction::kMostTaken && wait == Wait::kStartInto; ++i) start();
          if (wait == Wait::kFinish) reduction.finish();
        } catch (const CommError&) {
          ++told;
          throw;
        }
      };
      EXPECT_THROW(run_in_process(3, body), CommError);
      EXPECT_EQ(told, 3) << "result " << static_cast<int>(result) << ", in the hook: " << in_hook;
    }
  }
}

}  // namespace
}  // namespace longspan::test
