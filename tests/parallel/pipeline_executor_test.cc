// The executor over ranks as threads: every schedule computes what one rank does, keeps what the verifier
// predicts, and moves what the formula says.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "parallel/pipeline/executor.h"
#include "parallel/pipeline/measure_bubble.h"
#include "parallel/pipeline/schedules.h"
#include "tests/parallel/comm_support.h"
#include "tests/parallel/toy_pipeline.h"
#include "tests/support/virtual_device.h"

namespace longspan::test {
namespace {

using Schedule = PipelineSchedule;

struct Measured {
  ToyResult result;
  std::vector<StashCount> stashes;  // by rank
  int num_reductions = 0;
  std::vector<std::shared_ptr<CommLog>> logs;
};

Measured run(const PipelineProgram& program, int max_sends) {
  const auto num_ranks = program.ranks.size();
  Measured measured;
  measured.result.gradients.resize(static_cast<size_t>(program.shape.placement.num_blocks()));
  measured.stashes.resize(num_ranks);
  for (size_t r = 0; r < num_ranks; ++r) measured.logs.push_back(std::make_shared<CommLog>());
  std::atomic<int> num_reductions{0};
  run_in_process(static_cast<int>(num_ranks), [&](Communicator& world) {
    const auto rank = static_cast<size_t>(world.rank());
    const auto recorded = make_recording_communicator(world, measured.logs[rank]);
    Context context = make_context();
    PipelineLink link(*recorded);
    ToyStage toy(program.shape, world.rank());
    execute(context, program.ranks[rank], toy.stage, [&] { ++num_reductions; },
            {.link = link,
             .placement = program.shape.placement,
             .new_message = [&](int) { return context.empty({kWidth}, DType::kFloat64); },
             .max_sends = max_sends});
    EXPECT_EQ(toy.count->now, 0);
    toy.collect(measured.result);
    measured.stashes[rank] = *toy.count;
  });
  measured.num_reductions = num_reductions;
  return measured;
}

PipelineShape on_one_rank_shape(const PipelineShape& shape) {
  PipelineShape alone = shape;
  alone.placement = single_rank_placement(shape.placement.num_blocks());
  return alone;
}

// One sequence after another.
Program alone_program(const PipelineShape& alone) {
  const PipelineProgram program = make_pipeline_program(Schedule::kOneForwardOneBackward, alone);
  verify_pipeline(program);
  return program.ranks.front();
}

ToyResult on_one_rank(const PipelineShape& shape) {
  const PipelineShape alone = on_one_rank_shape(shape);
  Context context = make_context();
  ToyStage toy(alone, 0);
  execute(context, alone_program(alone), toy.stage, [] {});
  ToyResult result;
  result.gradients.resize(static_cast<size_t>(alone.placement.num_blocks()));
  toy.collect(result);
  return result;
}

void expect_equals_one_rank(Schedule schedule, const PipelineShape& shape, int max_sends) {
  SCOPED_TRACE(fmt::format("{}, {} ranks, {} chunks, {} microbatches, {} chunks a sequence, {} sends", name(schedule),
                           shape.placement.num_ranks, shape.placement.chunks_per_rank(), shape.num_microbatches,
                           shape.sequence_chunks, max_sends));
  constexpr size_t kMessageBytes = kWidth * sizeof(double);
  PipelineCosts costs{.blocks = {}, .message_bytes = {kMessageBytes}};
  for (int chunk = 0; chunk < shape.sequence_chunks; ++chunk) {
    for (int b = 0; b < shape.placement.num_blocks(); ++b) {
      costs.blocks.push_back({1.0 + chunk, 2.0 + b % 2, b % 3 == 1 ? 0.0 : 0.7, stash_bytes(b, chunk)});
    }
  }
  const PipelineProgram program = make_pipeline_program(schedule, shape, costs);
  const PipelineFacts facts = verify_pipeline(program, costs);
  const Measured measured = run(program, max_sends);
  const ToyResult expected = on_one_rank(shape);
  // To the last bit: every schedule adds up in one order.
  EXPECT_EQ(measured.result.loss, expected.loss);
  EXPECT_EQ(measured.result.gradients, expected.gradients);
  EXPECT_EQ(measured.num_reductions, shape.placement.num_ranks);
  size_t bytes = 0;
  for (size_t rank = 0; rank < facts.ranks.size(); ++rank) {
    EXPECT_EQ(measured.stashes[rank].peak, facts.ranks[rank].peak_stashes) << "rank " << rank;
    EXPECT_EQ(measured.stashes[rank].peak_bytes, facts.ranks[rank].peak_stash_bytes) << "rank " << rank;
    EXPECT_EQ(measured.logs[rank]->bytes_sent(), static_cast<size_t>(facts.ranks[rank].bytes_sent)) << "rank " << rank;
    EXPECT_EQ(measured.logs[rank]->bytes_received(), static_cast<size_t>(facts.ranks[rank].bytes_received)) << "rank " << rank;
    bytes += measured.logs[rank]->bytes_sent();
  }
  int crossings = 0;
  for (size_t c = 0; c + 1 < shape.placement.chunks.size(); ++c) {
    crossings += shape.placement.chunks[c].rank != shape.placement.chunks[c + 1].rank ? 1 : 0;
  }
  EXPECT_EQ(bytes, 2 * kMessageBytes * static_cast<size_t>(crossings * shape.num_microbatches));
}

PipelineShape shape_of(int ranks, int chunks, int microbatches, int sequence_chunks) {
  // One block more than chunks, so that chunks are uneven.
  const std::vector<double> costs(static_cast<size_t>(ranks * chunks + 1), 1.0);
  return {
      .placement = place_blocks(costs, ranks, chunks), .num_microbatches = microbatches, .sequence_chunks = sequence_chunks};
}

TEST(PipelineExecutor, EqualsOneRankToTheLastBit) {
  for (int ranks : {1, 2, 3, 4, 8}) {
    for (int sequence_chunks : {1, 2, 4}) {
      const int microbatches = ranks == 3 ? 12 : 8;
      for (Schedule schedule : kPipelineSchedules) {
        expect_equals_one_rank(schedule, shape_of(ranks, 1, microbatches, sequence_chunks), 4);
      }
      expect_equals_one_rank(Schedule::kGPipe, shape_of(ranks, 3, microbatches, sequence_chunks), 4);
      for (int chunks : {2, 4}) {
        expect_equals_one_rank(Schedule::kInterleaved, shape_of(ranks, chunks, microbatches, sequence_chunks), 4);
      }
    }
  }
}

TEST(PipelineExecutor, AnyNumberOfSendsMayBeUnderWay) {
  for (int max_sends : {0, 1, 1000}) {
    for (Schedule schedule : kPipelineSchedules) expect_equals_one_rank(schedule, shape_of(5, 1, 10, 2), max_sends);
    expect_equals_one_rank(Schedule::kInterleaved, shape_of(2, 3, 6, 1), max_sends);
    expect_equals_one_rank(Schedule::kInterleaved, shape_of(5, 2, 10, 1), max_sends);
    expect_equals_one_rank(Schedule::kGPipe, shape_of(6, 2, 3, 1), max_sends);
  }
}

TEST(PipelineExecutor, AVGoesThereAndBack) {
  PipelineShape shape = shape_of(4, 2, 6, 2);
  shape.placement = place_blocks(std::vector<double>(11, 1.0), 4, 2, ChunkOrder::kVShape);
  expect_equals_one_rank(Schedule::kGPipe, shape, 1);
}

// The oracle of the oracle: on one rank, the gradient is the loss's derivative.
TEST(PipelineExecutor, OneRankComputesTheDerivative) {
  const PipelineShape shape = on_one_rank_shape(shape_of(1, 2, 6, 3));
  const auto loss_with = [&](size_t block, size_t element, double change) {
    Context context = make_context();
    ToyStage toy(shape, 0);
    static_cast<ToyBlock&>(*toy.stage[block]).weight[element] += change;
    execute(context, alone_program(shape), toy.stage, [] {});
    return static_cast<const ToyBlock&>(*toy.stage.back()).loss;
  };
  const ToyResult result = on_one_rank(shape);
  for (size_t block = 0; block < result.gradients.size(); ++block) {
    for (size_t i = 0; i < result.gradients[block].size(); ++i) {
      const double h = 1e-3;  // the loss is linear in each weight
      EXPECT_NEAR((loss_with(block, i, h) - loss_with(block, i, -h)) / (2 * h), result.gradients[block][i], 1e-8);
    }
  }
}

TEST(PipelineLink, KeepsTheOrderOfEachDirectionWhateverGoesTheOtherWay) {
  for (int size : {2, 3, 4, 5, 8}) {
    run_in_process(size, [&](Communicator& world) {
      const Context context = make_context();
      PipelineLink link(world);
      const int rank = world.rank(), next = (rank + 1) % size, previous = (rank + size - 1) % size;
      // To the next rank 4 messages of growing size, the first of them empty, to the one before only one. Some ranks post the
      // receive of that first, the others last; of two ranks none does, as all comes from one.
      const bool early = size > 2 && rank % 2 == 0;
      std::vector<Tensor> from_previous;
      std::vector<Work> works;
      const Tensor from_next = context.empty({1}, DType::kFloat64);
      if (early) works.push_back(link.receive(context.stream(), from_next, next));
      for (int i = 0; i < 4; ++i) {
        const Tensor sent = filled<double>(context, {i}, [&](int64_t k) { return 100 * rank + 10 * i + static_cast<double>(k); });
        works.push_back(link.send(context.stream(), sent, next));
        from_previous.push_back(context.empty({i}, DType::kFloat64));
        works.push_back(link.receive(context.stream(), from_previous.back(), previous));
      }
      works.push_back(link.send(context.stream(), filled<double>(context, {1}, [&](int64_t) { return -1.0 * rank; }), previous));
      if (!early) works.push_back(link.receive(context.stream(), from_next, next));
      for (Work& work : works) work.wait();
      for (int i = 0; i < 4; ++i) {
        const auto expected = [&](int64_t k) { return 100 * previous + 10 * i + static_cast<double>(k); };
        expect_values<double>(from_previous[static_cast<size_t>(i)], expected, "from the rank before");
      }
      expect_values<double>(from_next, [&](int64_t) { return -1.0 * next; }, "from the next rank");
    });
  }
}

TEST(PipelineExecutor, NamesWhatDoesNotFit) {
  Context context = make_context();
  const PipelineShape shape = shape_of(2, 1, 2, 1);
  const PipelineProgram program = make_pipeline_program(Schedule::kGPipe, shape);
  ToyStage whole({.placement = single_rank_placement(3), .num_microbatches = 2}, 0);
  const std::string alone = message_of<Error>([&] { execute(context, program.ranks[0], whole.stage, [] {}); });
  EXPECT_TRUE(contains(alone, "in a program that runs alone")) << alone;
  const std::string blocks = message_of<Error>([&] {
    run_in_process(2, [&](Communicator& world) {
      Context own = make_context();
      PipelineLink link(world);
      ToyStage other({.placement = single_rank_placement(3), .num_microbatches = 2}, 0);
      execute(own, program.ranks[static_cast<size_t>(world.rank())], other.stage, [] {},
              {.link = link, .placement = shape.placement, .new_message = {}});
    });
  });
  EXPECT_TRUE(contains(blocks, "a stage of 3 blocks, but rank")) << blocks;
  const std::string far = message_of<Error>([&] {
    run_in_process(4, [&](Communicator& world) {
      PipelineLink link(world);
      const Context own = make_context();
      if (world.rank() == 0) link.send(own.stream(), own.empty({1}, DType::kFloat64), 2).wait();
    });
  });
  EXPECT_TRUE(contains(far, "pipeline rank 0 has no link to rank 2")) << far;
}

// How long it takes is the machine's affair; that nobody is in two places at once, and that all is done, is
// not.
TEST(PipelineExecutor, MeasuresABubble) {
  const PipelineShape shape = shape_of(4, 1, 8, 1);
  const PipelineCosts costs{.blocks = {{0.0002, 0.0002, 0.0001, 100}}};
  for (Schedule schedule : kPipelineSchedules) {
    const PipelineProgram program = make_pipeline_program(schedule, shape, costs);
    const PipelineFacts facts = verify_pipeline(program, costs);
    const MeasuredBubble measured = measure_bubble(program, costs);
    EXPECT_GE(measured.makespan_seconds, 8 * 2 * 0.0005);  // of the rank with two blocks
    EXPECT_GT(measured.bubble, 0);
    EXPECT_LT(measured.bubble, 1);
    for (size_t rank = 0; rank < 4; ++rank) EXPECT_EQ(measured.peak_stash_bytes[rank], facts.ranks[rank].peak_stash_bytes);
  }
}

// The second rank holds the first up until its sums have moved on, which only a rank that waits can move here.
TEST(PipelineExecutor, SumsGoOnWhileARankWaits) {
  const PipelineShape shape = shape_of(2, 1, 1, 1);
  const PipelineProgram program = make_pipeline_program(Schedule::kOneForwardOneBackward, shape);
  std::atomic<int> looks{0};
  constexpr int kEnough = 5;
  class Sums final : public GradientSums {
   public:
    explicit Sums(const std::atomic<int>& looks) : looks_(looks) {}
    void start(const Action&) override {}
    void finish() override {}
    bool under_way() const override { return looks_ < kEnough; }

   private:
    const std::atomic<int>& looks_;
  };
  run_in_process(2, [&](Communicator& world) {
    Context context = make_context();
    PipelineLink link(world);
    ToyStage toy(shape, world.rank());
    Sums sums(looks);
    const auto new_message = [&](int) {
      const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (world.rank() == 1 && looks < kEnough && std::chrono::steady_clock::now() < late) std::this_thread::yield();
      return context.empty({kWidth}, DType::kFloat64);
    };
    const PipelineRank rank = {.link = link, .placement = shape.placement, .new_message = new_message};
    const Context::ProgressGuard count(context, [&] { looks += world.rank() == 0 ? 1 : 0; });
    execute(context, program.ranks[static_cast<size_t>(world.rank())], toy.stage, sums, &rank);
  });
  EXPECT_GE(looks, kEnough);
}

// On a device both groups of each pair carry a message each way before a schedule posts any; on a host none does.
TEST(PipelineLink, ConnectsOnceOnADevice) {
  for (const int size : {2, 3, 4}) {
    run_in_process(size, [&](Communicator& threads) {
      const auto staging = make_staging_communicator(threads);
      const auto log = std::make_shared<CommLog>();
      const auto world = make_recording_communicator(*staging, log);
      const auto posted = [&] {
        size_t count = 0;
        for (const CommRecord& record : log->records()) count += record.kind == CommRecord::Kind::kSendRecvPosted ? 1 : 0;
        return count;
      };
      PipelineLink link(*world);
      link.connect(make_context());
      EXPECT_EQ(posted(), 0u);
      VirtualDevice device;
      Context::Options options;
      options.device.type = DeviceType::kCuda;
      options.memory = options.host_memory = std::make_shared<HostResource>();
      options.stream = device.stream();
      const Context context(options);
      link.connect(context);
      EXPECT_EQ(posted(), size == 2 ? 2u : 4u);
      link.connect(context);
      EXPECT_EQ(posted(), size == 2 ? 2u : 4u);
    });
  }
}

// Of a rank the quickest microbatch counts, of the ranks that hold a block the slowest.
TEST(BlockTimes, AreTheSameOnAllRanks) {
  const PipelineShape shape{.placement = single_rank_placement(2), .num_microbatches = 4, .sequence_chunks = 2};
  PipelineCosts planned{.blocks = {4, BlockCosts{.stash_bytes = 7}}, .message_bytes = {}};
  run_in_process(2, [&](Communicator& world) {
    BlockTimes times(shape);
    const double slower = world.rank() == 1 ? 2 : 1;
    for (int m = 0; m < 4; ++m) {
      for (int b = 0; b < 2; ++b) {
        if (b == world.rank()) continue;  // block 0 is on rank 1 alone, the other on rank 0
        const double seconds = slower * (1 + m % 2 + 10 * b) + (m < 2 ? 100 : 0);
        times.add({Action::Kind::kForward, m, b}, seconds);
        times.add({Action::Kind::kBackwardInput, m, b}, 3 * seconds);
        times.add({Action::Kind::kBackwardWeight, m, b}, seconds / 2);
      }
    }
    times.add({Action::Kind::kForward, 2, 0}, 2.5);  // by both
    const PipelineCosts costs = times.agree(make_context(), world, planned);
    const double forward[] = {2.5, 11, 4, 12}, others[] = {2, 11, 4, 12};
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(costs.blocks[i].forward_seconds, forward[i]) << i;
      EXPECT_EQ(costs.blocks[i].backward_input_seconds, 3 * others[i]) << i;
      EXPECT_EQ(costs.blocks[i].backward_weight_seconds, others[i] / 2) << i;
      EXPECT_EQ(costs.blocks[i].stash_bytes, 7);
    }
    EXPECT_THROW(times.add({Action::Kind::kReduce}, 1), Error);
  });
}

TEST(BlockTimes, OfEveryActionOfARun) {
  const PipelineShape shape = shape_of(4, 1, 6, 2);
  const PipelineProgram program = make_pipeline_program(Schedule::kZeroBubble, shape);
  PipelineCosts planned{.blocks = std::vector<BlockCosts>(static_cast<size_t>(2 * shape.placement.num_blocks()))};
  for (BlockCosts& block : planned.blocks) block = {-1, -1, -1, 0};
  run_in_process(4, [&](Communicator& world) {
    Context context = make_context();
    PipelineLink link(world);
    ToyStage toy(shape, world.rank());
    BlockTimes times(shape);
    execute(context, program.ranks[static_cast<size_t>(world.rank())], toy.stage, [] {},
            {.link = link,
             .placement = shape.placement,
             .new_message = [&](int) { return context.empty({kWidth}, DType::kFloat64); },
             .times = &times});
    for (const BlockCosts& block : times.agree(context, world, planned).blocks) {
      EXPECT_GT(block.forward_seconds, 0);
      EXPECT_GT(block.backward_input_seconds, 0);
      EXPECT_GT(block.backward_weight_seconds, 0);
    }
  });
}

}  // namespace
}  // namespace longspan::test
