// Weights that ranks share, gathered while they are read.
#include "parallel/data/gathered_weights.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "parallel/comm/backends.h"
#include "tests/support/reference_context.h"

namespace longspan::test {
namespace {

constexpr int kRanks = 3, kBlocks = 3;
constexpr int64_t kElements = 100;  // of a block: no multiple of the ranks, or of a line

void make(const Context& context, const StateShare& share, ParameterSet& set) {
  for (int b = 0; b < kBlocks; ++b) {
    set.begin_block(b);
    set.add(fmt::format("weight {}", b), Shape{kElements}, Initialization::kNormal);
  }
  set.materialize(context, ParameterSet::Purpose::kInference, share);
  set.initialize(context, 7, 1);
}

void expect_whole(const ParameterSet& set, int block, const ParameterSet& alone) {
  const Tensor& value = set.all()[static_cast<size_t>(block)]->value;
  ASSERT_TRUE(value.defined()) << "block " << block;
  const auto* want = alone.all()[static_cast<size_t>(block)]->value.data<float>();
  for (int64_t i = 0; i < kElements; ++i) EXPECT_EQ(value.data<float>()[i], want[i]) << "element " << i << " of block " << block;
}

void on_ranks(const std::function<void(Context&, Communicator&, ParameterSet&, const ParameterSet& alone)>& body) {
  run_in_process(kRanks, [&](Communicator& group) {
    Context context = make_context(DType::kFloat32);
    ParameterSet set, alone;
    make(context, {}, alone);
    make(context, {.rank = group.rank(), .num_ranks = kRanks, .what = StateShare::What::kWeights, .bucket_elements = 1}, set);
    body(context, group, set, alone);
  });
}

TEST(GatheredWeights, AreThereForTheBlockThatReadsThemAndGo) {
  on_ranks([](Context& context, Communicator& group, ParameterSet& set, const ParameterSet& alone) {
    GatheredWeights weights(context, group, set);
    for (int b = 0; b < kBlocks; ++b) {
      weights.use(b, b + 1 < kBlocks ? b + 1 : -1);
      expect_whole(set, b, alone);
      if (b > 0) {
        EXPECT_FALSE(set.all()[static_cast<size_t>(b - 1)]->value.defined()) << "after block " << b;
      }
    }
    weights.use(0, 2);  // not what was said
    expect_whole(set, 0, alone);
    weights.use(1, -1);
    expect_whole(set, 1, alone);
    weights.close();
    for (const auto& p : set.all()) EXPECT_FALSE(p->value.defined());
  });
}

// The next block's two hops need ranks that are at work: the same block once more does not wait for them.
TEST(GatheredWeights, OfTheNextBlockAreNotWaitedFor) {
  std::atomic<bool> first_is_there = false;
  on_ranks([&](Context& context, Communicator& group, ParameterSet& set, const ParameterSet& alone) {
    GatheredWeights weights(context, group, set);
    weights.use(0, 1);
    if (group.rank() == 0) {
      weights.use(0, 1);
      first_is_there = true;
    } else {
      const auto begin = std::chrono::steady_clock::now();
      while (!first_is_there && std::chrono::steady_clock::now() - begin < std::chrono::seconds(30)) std::this_thread::yield();
      EXPECT_TRUE(first_is_there);
      weights.use(0, 1);
    }
    expect_whole(set, 0, alone);
    weights.use(1, 2);
    expect_whole(set, 1, alone);
    weights.close();
  });
}

}  // namespace
}  // namespace longspan::test
