// Activation memory: linear in the sequence length, 1/P over the ring, and just what the stashes say.
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "attention/ring_attention.h"
#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "tests/support/reference_context.h"
#include "tests/support/sequences.h"
#include "tests/support/tensors.h"
#include "tests/train/small_run.h"
#include "train/batch.h"
#include "train/train.h"

namespace longspan {
namespace {

// Peak bytes of all that depends on the tokens, on the rank that holds most of it.
size_t peak_activations(const std::string& text, int64_t sequence_length, int context) {
  RunSpec spec = test::small_run(sequence_length, context);
  spec.data.sources = {{.files = {text}}};
  spec.num_steps = 2;
  size_t peak = 0;
  std::mutex mutex;
  run_in_process(context, [&](Communicator& world) {
    const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
    TrainObserver silent;
    train(spec, world, {.num_threads = 1, .memory = memory}, silent, [] { return false; });
    const MemoryStatistics s = memory->statistics();
    const auto tag = [&](MemoryTag t) { return s.peak_by_tag[static_cast<size_t>(t)]; };
    const std::lock_guard lock(mutex);
    peak = std::max(peak, tag(MemoryTag::kStash) + tag(MemoryTag::kActivations) + tag(MemoryTag::kCommunication));
  });
  return peak;
}

TEST(ActivationMemory, GrowsLinearlyAndFallsWithTheRing) {
  const test::Folder folder;
  const std::string text = folder.write("text", std::string(20000, 'x'));
  std::map<std::pair<int64_t, int>, double> peak;
  for (const int64_t length : {1024, 2048, 4096}) {
    for (const int ranks : {1, 2, 4}) {
      peak[{length, ranks}] = static_cast<double>(peak_activations(text, length, ranks));
    }
  }
  for (const int ranks : {1, 2, 4}) {
    EXPECT_NEAR((peak[{2048, ranks}] / peak[{1024, ranks}]), 2, 0.05) << ranks << " ranks";
    EXPECT_NEAR((peak[{4096, ranks}] / peak[{2048, ranks}]), 2, 0.05) << ranks << " ranks";
  }
  // A ring adds what is under way: two more shards of keys and values, and sums of their gradients.
  for (const int64_t length : {1024, 2048, 4096}) {
    EXPECT_LT((peak[{length, 2}] / peak[{length, 1}]), 0.5 * 1.1) << length << " tokens";
    EXPECT_LT((peak[{length, 4}] / peak[{length, 1}]), 0.25 * 1.1) << length << " tokens";
  }
}

// The tags of every step's report add up to its peak, on a run of two ranks; and each has its share.
TEST(MemoryByTag, AddsUpToThePeak) {
  const test::Folder folder;
  RunSpec spec = test::small_run(512, 2);
  spec.data.sources = {{.files = {folder.write("text", std::string(20000, 'x'))}}};
  spec.num_steps = 2;
  struct Check final : TrainObserver {
    void on_step(const StepReport& r) override {
      int64_t sum = 0;
      for (const int64_t bytes : r.memory_bytes_by_tag) sum += bytes;
      EXPECT_EQ(sum, r.peak_memory_bytes);
      EXPECT_GE(r.peak_memory_bytes_max, r.peak_memory_bytes);
      last = r;
    }
    StepReport last;
  };
  run_in_process(2, [&](Communicator& world) {
    Check check;
    train(spec, world, {}, check, [] { return false; });
    const auto tag = [&](MemoryTag t) { return check.last.memory_bytes_by_tag[static_cast<size_t>(t)]; };
    EXPECT_EQ(check.last.step, spec.num_steps);
    EXPECT_EQ(tag(MemoryTag::kWeights), tag(MemoryTag::kGradients));
    EXPECT_GT(tag(MemoryTag::kOptimizer), tag(MemoryTag::kWeights));  // two moments, without the gaps between parameters
    for (const MemoryTag t : {MemoryTag::kStash, MemoryTag::kActivations, MemoryTag::kCommunication}) {
      EXPECT_GT(tag(t), 0) << name(t);
    }
  });
}

// Of a decoder block on one rank of a tensor axis; returns the bytes that its stash holds.
size_t expect_stash_holds_what_it_says(Communicator& axis, int64_t num_heads, int64_t num_kv_heads) {
  const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
  Context context = test::make_context(DType::kFloat64, memory);
  ModelSpec spec;
  spec.vocabulary_size = 11;
  spec.hidden_size = 8;
  spec.num_heads = num_heads;
  spec.num_kv_heads = num_kv_heads;
  spec.head_dim = 4;
  spec.mlp_size = 12;
  const auto alone = make_self_communicator();
  const HeadSplit heads = split_heads(num_heads, num_kv_heads, axis.size(), axis.rank());
  ParameterSet parameters;
  const auto matrix = [&](const char* name, int64_t out, int64_t in) {
    return &parameters.add(name, {out, in}, Initialization::kNormal);
  };
  const int64_t q = heads.q.size() * 4, kv = heads.kv.size() * 4, mlp = tensor_piece_of(12, axis.size(), axis.rank()).size();
  DecoderBlockParameters p;
  p.attention_norm = &parameters.add("n1", {8}, Initialization::kOnes);
  p.mlp_norm = &parameters.add("n2", {8}, Initialization::kOnes);
  p.attention.q = matrix("q", q, 8);
  p.attention.k = matrix("k", kv, 8);
  p.attention.v = matrix("v", kv, 8);
  p.attention.o = matrix("o", 8, q);
  p.gate = matrix("gate", mlp, 8);
  p.up = matrix("up", mlp, 8);
  p.down = matrix("down", 8, mlp);
  const RingAttention attention(*alone, score_scale(spec));
  const DecoderBlock block(spec, p, {.attention = attention, .tensor = axis});
  parameters.materialize(context, ParameterSet::Purpose::kTraining);
  parameters.initialize(context, 1, 0.1);
  const int64_t n = 19, own = tensor_piece_of(n, axis.size(), axis.rank()).size();
  const Microbatch batch = make_microbatch(context, spec, {}, {test::random_sequence(1, n, 2, 11)});
  const Tensor x = test::random_tensor(context, {own, 8}, DType::kFloat64, 1, "x");
  block.forward(context, x, batch.shard, nullptr);  // makes what is made once

  const size_t before = memory->statistics().current_bytes;
  DecoderBlock::Stash stash;
  block.forward(context, x, batch.shard, &stash);  // its output is dropped
  const size_t held = memory->statistics().current_bytes - before;
  EXPECT_EQ(memory->statistics().current_by_tag[static_cast<size_t>(MemoryTag::kStash)], held);
  std::map<const void*, size_t> storages;
  stash.for_each_storage([&](Tensor& t) {
    if (t.defined()) storages[t.storage_id()] = t.storage_bytes();
  });
  storages.erase(x.storage_id());
  size_t said = 0;
  for (const auto& [id, bytes] : storages) said += bytes;
  EXPECT_EQ(said, held);
  // By the shapes: of the own tokens two norm outputs and the middle residual, and the norms' numbers per row; of all tokens q
  // and the attention output, k and v as the kernel sees them, three of the MLP and the softmax's numbers.
  const int64_t seen = 4 * static_cast<int64_t>(heads.kv_of.size());
  EXPECT_EQ(held, sizeof(double) * static_cast<size_t>(own * (3 * 8 + 2) + n * (2 * q + 2 * seen + 3 * mlp + heads.q.size())));
  return held;
}

TEST(ActivationMemory, AStashHoldsJustWhatItSays) {
  const auto alone = make_self_communicator();
  EXPECT_EQ(expect_stash_holds_what_it_says(*alone, 4, 2), sizeof(double) * 19 * (3 * 8 + 2 * 16 + 2 * 8 + 3 * 12 + 2 + 4));
}

TEST(ActivationMemory, AStashOfATensorAxisHoldsJustWhatItSays) {
  for (const auto& [num_heads, num_kv_heads] : {std::pair<int64_t, int64_t>{4, 2}, {9, 3}}) {  // the second repeats heads
    SCOPED_TRACE(num_heads);
    run_in_process(2, [&, heads = num_heads, kv_heads = num_kv_heads](Communicator& axis) {
      expect_stash_holds_what_it_says(axis, heads, kv_heads);
    });
  }
}

}  // namespace
}  // namespace longspan
