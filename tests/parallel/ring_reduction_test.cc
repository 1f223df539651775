// Sums over a ring that move while the caller computes.
#include "parallel/data/ring_reduction.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/kernels/backends.h"
#include "parallel/comm/backends.h"

namespace longspan::test {
namespace {

Context reference_context() {
  auto kernels = std::make_shared<KernelSet>("reference");
  add_reference_kernels(*kernels);
  Context::Options options;
  options.compute_dtype = DType::kFloat64;
  options.kernels = kernels;
  return Context(options);
}

// Numbers whose sums are exact, so that the order does not matter.
double number(int rank, int64_t tensor, int64_t i) { return static_cast<double>((rank + 1) * 1000 + tensor * 100 + i); }

Tensor filled(const Context& context, int rank, int64_t tensor, int64_t n) {
  const Tensor data = context.empty({n}, DType::kFloat64);
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

TEST(RingReduction, APeerThatFailsIsAnErrorOfFinish) {
  EXPECT_THROW(run_in_process(3,
                              [](Communicator& plain) {
                                const auto group = make_faulty_communicator(plain, {.fail_at = plain.rank() == 1 ? 1 : -1});
                                Context context = reference_context();
                                RingReduction reduction(context, *group, RingReduction::Result::kAll);
                                reduction.start(filled(context, group->rank(), 0, 9));
                                for (int i = 0; i < 100; ++i) context.progress();
                                reduction.finish();
                              }),
               CommError);
}

}  // namespace
}  // namespace longspan::test
