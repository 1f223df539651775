#include "parallel/comm/ring_pass.h"

#include <thread>

#include "tests/parallel/comm_support.h"

namespace longspan::test {
namespace {

using Shapes = std::function<std::vector<Shape>(int owner)>;

const Shapes kLayouts[] = {
    [](int) { return std::vector<Shape>{{4, 2}, {3}}; },                      // even
    [](int owner) { return std::vector<Shape>{{owner + 1, 2}, {2 * owner}}; },  // uneven
    [](int owner) { return std::vector<Shape>{{owner % 2 * 5, 2}, {1}}; },      // some empty
    [](int) { return std::vector<Shape>{{0, 2}, {0}}; },                      // nothing at all
};

double value_of(int owner, size_t tensor, int64_t i) {
  return 10000.0 * owner + 100.0 * static_cast<double>(tensor) + static_cast<double>(i);
}

std::vector<Tensor> shard_of(const Context& context, const Shapes& shapes_of, int owner) {
  std::vector<Tensor> tensors;
  for (const Shape& shape : shapes_of(owner)) {
    const size_t t = tensors.size();
    tensors.push_back(filled<float>(context, shape, [&](int64_t i) { return value_of(owner, t, i); }));
  }
  return tensors;
}

size_t num_bytes_of(const std::vector<Shape>& shapes) {
  size_t sum = 0;
  for (const Shape& shape : shapes) sum += static_cast<size_t>(shape.num_elements()) * sizeof(float);
  return sum;
}

TEST(RingPass, HandsOutEachShardOnceAndMovesNoMoreBytesThanNeeded) {
  for (int size = 1; size <= 8; ++size) {
    for (const Shapes& shapes_of : kLayouts) {
      run_in_process(size, [&](Communicator& inner) {
        Context context = make_context();
        const auto log = std::make_shared<CommLog>();
        const auto group = make_recording_communicator(inner, log);
        RingPass ring(context, *group, shard_of(context, shapes_of, inner.rank()), shapes_of);
        int num_hops = 0;
        size_t bytes_of_others = 0;
        for (const RingHop& hop : ring) {
          EXPECT_EQ(hop.index, num_hops++);
          EXPECT_EQ(hop.owner, (inner.rank() - hop.index + size) % size);
          if (hop.owner != inner.rank()) bytes_of_others += num_bytes_of(shapes_of(hop.owner));
          ASSERT_EQ(hop.tensors.size(), 2u);
          for (size_t t = 0; t < 2; ++t) {
            EXPECT_EQ(hop.tensors[t].shape(), shapes_of(hop.owner)[t]);
            expect_values<float>(hop.tensors[t], [&](int64_t i) { return value_of(hop.owner, t, i); }, "shard");
          }
        }
        EXPECT_EQ(num_hops, size);
        EXPECT_EQ(log->bytes_received(), bytes_of_others);
      });
    }
  }
}

TEST(RingPass, TransferIsUnderWayWhileAHopIsComputed) {
  const Shapes shapes_of = [](int) { return std::vector<Shape>{{3}}; };
  for (int size = 1; size <= 8; ++size) {
    run_in_process(size, [&](Communicator& inner) {
      Context context = make_context();
      const auto log = std::make_shared<CommLog>();
      const auto group = make_recording_communicator(inner, log);
      RingPass ring(context, *group, shard_of(context, shapes_of, inner.rank()), shapes_of);
      for (const RingHop& hop : ring) log->mark(compute_mark(hop.index));
      EXPECT_EQ(overlap_error(log->records(), size), "");
    });
  }
}

// The mistake that the test above must catch: a ring that posts a hop after the compute that should hide it.
TEST(RingPass, LatePosterIsCaught) {
  run_in_process(3, [](Communicator& inner) {
    const Context context = make_context();
    const auto log = std::make_shared<CommLog>();
    const auto group = make_recording_communicator(inner, log);
    Tensor current = context.zeros({3}, DType::kFloat32);
    for (int hop = 0; hop < 3; ++hop) {
      log->mark(compute_mark(hop));
      if (hop == 2) break;
      const Tensor next = context.zeros({3}, DType::kFloat32);
      group->send_recv(context.stream(), {current, (inner.rank() + 1) % 3, next, (inner.rank() + 2) % 3}).wait();
      current = next;
    }
    EXPECT_EQ(overlap_error(log->records(), 3), "compute 0 began with 0 transfers posted");
  });
}

TEST(RingPass, HoldsAtMostTwoSetsOfReceivedTensors) {
  constexpr size_t kShardBytes = 1000 * sizeof(float);
  const Shapes shapes_of = [](int) { return std::vector<Shape>{{1000}}; };
  run_in_process(6, [&](Communicator& group) {
    const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
    Context::Options options;
    options.memory = memory;
    Context context(options);
    RingPass ring(context, group, shard_of(context, shapes_of, group.rank()), shapes_of);
    for (const RingHop& hop : ring) EXPECT_GE(hop.tensors.size(), 1u);
    const auto tag = static_cast<size_t>(MemoryTag::kCommunication);
    EXPECT_EQ(memory->statistics().peak_by_tag[tag], 2 * kShardBytes);
    EXPECT_EQ(memory->statistics().current_by_tag[tag], 0u);
  });
}

TEST(RingPass, ProgressHookLivesAsLongAsTheRing) {
  const Shapes shapes_of = [](int) { return std::vector<Shape>{{1}}; };
  run_in_process(2, [&](Communicator& inner) {
    Context context = make_context();
    ProgressCounter group(inner);
    {
      RingPass ring(context, group, shard_of(context, shapes_of, inner.rank()), shapes_of);
      for (const RingHop& hop : ring) {
        context.progress();
        EXPECT_EQ(group.num_calls, hop.index + 1);
      }
    }
    context.progress();
    EXPECT_EQ(group.num_calls, 2);
  });
}

TEST(RingPass, ARankMayBeAheadOfTheOthers) {
  const Shapes shapes_of = [](int) { return std::vector<Shape>{{10}}; };
  run_in_process(4, [&](Communicator& group) {
    Context context = make_context();
    for (int pass = 0; pass < 5; ++pass) {
      RingPass ring(context, group, shard_of(context, shapes_of, group.rank()), shapes_of);
      for (const RingHop& hop : ring) {
        if (group.rank() == pass % 4) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        expect_values<float>(hop.tensors[0], [&](int64_t i) { return value_of(hop.owner, 0, i); }, "shard");
      }
    }
  });
}

TEST(RingPass, ExceptionInTheLoopUnwindsCleanly) {
  const Shapes shapes_of = [](int) { return std::vector<Shape>{{1000}}; };
  for (int thrower = 0; thrower < 3; ++thrower) {
    EXPECT_THROW(run_in_process(3,
                                [&](Communicator& group) {
                                  Context context = make_context();
                                  RingPass ring(context, group, shard_of(context, shapes_of, group.rank()), shapes_of);
                                  for (const RingHop& hop : ring) {
                                    if (group.rank() == thrower && hop.index == 1) throw std::logic_error("compute");
                                  }
                                }),
                 std::logic_error);
  }
}

TEST(RingPass, WrongShapesAreNamed) {
  const auto self = make_self_communicator();
  Context context = make_context();
  const std::string message = message_of<Error>([&] {
    RingPass ring(context, *self, {context.zeros({3}, DType::kFloat32)}, [](int) { return std::vector<Shape>{{4}}; });
  });
  EXPECT_TRUE(contains(message, "[3], not [4]")) << message;
}

void accumulate(const Tensor& from, const Tensor& into) {
  for (int64_t i = 0; i < into.num_elements(); ++i) into.data<float>()[i] += from.data<float>()[i];
}

// What rank `rank` adds to tensor t of `owner`.
double term(int rank, int owner, size_t t, int64_t i) { return value_of(owner, t, i) + (i + 1.0) * rank; }

void expect_plain_sums(TravellingSum::Begin begin) {
  const int first_hop = begin == TravellingSum::Begin::kWithOwn ? 0 : 1;
  for (int size = 1; size <= 8; ++size) {
    for (const Shapes& shapes_of : kLayouts) {
      run_in_process(size, [&](Communicator& inner) {
        Context context = make_context();
        const auto log = std::make_shared<CommLog>();
        const auto group = make_recording_communicator(inner, log);
        const int rank = inner.rank();
        TravellingSum home(context, *group, shapes_of, accumulate, begin);
        size_t bytes_arriving = 0;
        for (int hop = first_hop; hop < size + first_hop; ++hop) {
          const int owner = (rank - hop + size) % size;
          EXPECT_EQ(home.next_owner(), owner);
          std::vector<Tensor> contribution;
          for (const Shape& shape : shapes_of(owner)) {
            const size_t t = contribution.size();
            contribution.push_back(filled<float>(context, shape, [&](int64_t i) { return term(rank, owner, t, i); }));
          }
          home.add(std::move(contribution));
          if (hop < size) bytes_arriving += num_bytes_of(shapes_of((owner - 1 + size) % size));
        }
        const std::vector<Tensor> sums = home.finish();
        ASSERT_EQ(sums.size(), 2u);
        for (size_t t = 0; t < 2; ++t) {
          EXPECT_EQ(sums[t].shape(), shapes_of(rank)[t]);
          const auto sum = [&](int64_t i) {
            double s = 0;
            for (int r = 0; r < size; ++r) s += term(r, rank, t, i);
            return s;
          };
          expect_values<float>(sums[t], sum, "sum");
        }
        EXPECT_EQ(log->bytes_received(), size == 1 ? 0 : bytes_arriving);
      });
    }
  }
}

TEST(TravellingSum, IsThePlainSumOverRanks) { expect_plain_sums(TravellingSum::Begin::kWithOwn); }

TEST(TravellingSum, SavesATransferWhereItFollowsNoTensors) { expect_plain_sums(TravellingSum::Begin::kWithPrevious); }

TEST(TravellingSum, TravelsBesideItsRing) {
  constexpr int kSize = 4;
  const Shapes shapes_of = kLayouts[1];
  run_in_process(kSize, [&](Communicator& group) {
    Context context = make_context();
    RingPass ring(context, group, shard_of(context, shapes_of, group.rank()), shapes_of);
    TravellingSum home(context, group, shapes_of, accumulate);
    for (const RingHop& hop : ring) home.add(shard_of(context, shapes_of, hop.owner));
    const std::vector<Tensor> sums = home.finish();
    for (size_t t = 0; t < 2; ++t) {
      expect_values<float>(sums[t], [&](int64_t i) { return kSize * value_of(group.rank(), t, i); }, "sum");
    }
  });
}

TEST(TravellingSum, WantsOneContributionPerRank) {
  const auto self = make_self_communicator();
  Context context = make_context();
  const Shapes shapes_of = [](int) { return std::vector<Shape>{{1}}; };
  TravellingSum home(context, *self, shapes_of, accumulate);
  EXPECT_TRUE(contains(message_of<Error>([&] { home.finish(); }), "0 contributions"));
  home.add({context.zeros({1}, DType::kFloat32)});
  EXPECT_TRUE(contains(message_of<Error>([&] { home.add({context.zeros({1}, DType::kFloat32)}); }), "contribution 2"));
}

}  // namespace
}  // namespace longspan::test
