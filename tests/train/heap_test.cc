// No large buffer of a run lies outside the memory resource: what `operator new` gives hardly grows with the sequence.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "train/train.h"

namespace {

constexpr size_t kHeader = alignof(std::max_align_t);
std::atomic<size_t> current_bytes{0}, peak_bytes{0};

void* counted_allocation(size_t num_bytes) {
  auto* block = static_cast<std::byte*>(std::malloc(num_bytes + kHeader));
  if (!block) throw std::bad_alloc();
  *reinterpret_cast<size_t*>(block) = num_bytes;
  const size_t now = current_bytes += num_bytes;
  size_t peak = peak_bytes;
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
  return block + kHeader;
}

void counted_release(void* pointer) noexcept {
  if (!pointer) return;
  auto* block = static_cast<std::byte*>(pointer) - kHeader;
  current_bytes -= *reinterpret_cast<size_t*>(block);
  std::free(block);
}

}  // namespace

void* operator new(size_t num_bytes) {
  return counted_allocation(num_bytes);
}
void* operator new[](size_t num_bytes) {
  return counted_allocation(num_bytes);
}
void operator delete(void* pointer) noexcept {
  counted_release(pointer);
}
void operator delete[](void* pointer) noexcept {
  counted_release(pointer);
}
void operator delete(void* pointer, size_t) noexcept {
  counted_release(pointer);
}
void operator delete[](void* pointer, size_t) noexcept {
  counted_release(pointer);
}

namespace longspan {
namespace {

struct Usage {
  double heap_bytes = 0;     // most that operator new gave during the run
  double counted_bytes = 0;  // the run's own peak
};

Usage usage_of_run(const std::string& text, int64_t sequence_length) {
  RunSpec spec;
  spec.model.hidden_size = 8;
  spec.model.num_layers = 1;
  spec.model.num_heads = 4;
  spec.model.num_kv_heads = 4;
  spec.model.head_dim = 2;
  spec.model.mlp_size = 8;
  spec.data.sources = {{.files = {text}}};
  spec.data.sequence_length = sequence_length;
  spec.evaluation.data = spec.data;
  spec.evaluation.interval_steps = 1;
  spec.evaluation.max_sequences = 1;
  spec.loss_tile_tokens = 64;
  spec.num_steps = 1;
  spec.tensorboard = RunSpec::TensorBoard::kOff;
  struct Keep final : TrainObserver {
    void on_step(const StepReport& r) override { peak_memory_bytes = r.peak_memory_bytes; }
    int64_t peak_memory_bytes = 0;
  } keep;
  const size_t before = current_bytes;
  peak_bytes = before;
  const auto alone = make_self_communicator();
  train(spec, *alone, {}, keep, [] { return false; });
  return {static_cast<double>(peak_bytes - before), static_cast<double>(keep.peak_memory_bytes)};
}

TEST(Heap, HoldsNothingThatGrowsWithTheSequence) {
  const test::Folder folder;
  const std::string text = folder.write("text", std::string(100000, 'x'));
  usage_of_run(text, 1024);  // what is made once
  // Long enough that the tokens make the peak: below, the lists of the attention's tasks do.
  const Usage small = usage_of_run(text, 16384), large = usage_of_run(text, 32768);
  constexpr double kMoreTokens = 32768 - 16384;
  // The tokens of a sequence, 4 bytes each, are in an ordinary vector, and counted; nothing else may grow.
  EXPECT_LT((large.heap_bytes - small.heap_bytes) / kMoreTokens, 4.5);
  EXPECT_GT((large.heap_bytes - small.heap_bytes) / kMoreTokens, 3.5) << "this test counts nothing";
  EXPECT_GT((large.counted_bytes - small.counted_bytes) / kMoreTokens, 100);
}

}  // namespace
}  // namespace longspan
