// A toy model for pipelines: blocks that are small linear maps in double precision, with a prefix that
// couples the chunks of a sequence as attention does, and counts of what is kept.
#pragma once

#include <algorithm>
#include <any>
#include <cmath>
#include <map>
#include <memory>
#include <vector>

#include "parallel/pipeline/executor.h"
#include "parallel/pipeline/verifier.h"

namespace longspan::test {

constexpr int kWidth = 3;
using Vec = std::vector<double>;

// What is alive on one rank.
struct StashCount {
  int now = 0, peak = 0;
  int64_t now_bytes = 0, peak_bytes = 0;
};

// What a stash is said to weigh: another number for each block and chunk of a sequence.
inline int64_t stash_bytes(int block, int chunk) { return 100 + 10 * block + chunk; }

struct ToyStash {
  ToyStash(StashCount* count, int64_t size, Vec input) : counter(count), bytes(size), x(std::move(input)) {
    counter->peak = std::max(counter->peak, ++counter->now);
    counter->peak_bytes = std::max(counter->peak_bytes, counter->now_bytes += bytes);
  }
  ~ToyStash() {
    --counter->now;
    counter->now_bytes -= bytes;
  }
  ToyStash(const ToyStash&) = delete;
  ToyStash& operator=(const ToyStash&) = delete;

  StashCount* counter;
  int64_t bytes;
  Vec x, dy;
};

// y = W (x + p), where p is half the sum of the inputs of the earlier chunks of the sequence. The
// first block makes x from the microbatch; the last adds sum(y * target) to the loss, with a target of the
// microbatch.
class ToyBlock final : public StageBlock {
 public:
  ToyBlock(int block, const PipelineShape& shape, StashCount* count) : block_(block), shape_(shape), count_(count) {
    for (int i = 0; i < kWidth * kWidth; ++i) weight.push_back(std::sin(1.0 + block * 17 + i));
    gradient.assign(weight.size(), 0);
  }

  Tensor forward(Context& context, int microbatch, const Tensor& x, std::any* stash) override {
    const bool first = block_ == 0;
    check(x.defined() != first, "block {} got {} input", block_, x.defined() ? "an" : "no");
    Vec input(kWidth);
    for (int i = 0; i < kWidth; ++i) input[at(i)] = first ? std::cos(microbatch * 5.0 + i) : x.data<double>()[i];
    Vec& prefix = prefixes_[microbatch / shape_.sequence_chunks];
    if (microbatch % shape_.sequence_chunks == 0) prefix.assign(kWidth, 0);
    const Vec own = input;
    for (int i = 0; i < kWidth; ++i) {
      input[at(i)] += 0.5 * prefix[at(i)];
      prefix[at(i)] += own[at(i)];
    }
    *stash = std::make_shared<ToyStash>(count_, stash_bytes(block_, microbatch % shape_.sequence_chunks), input);
    Vec y(kWidth, 0);
    for (int i = 0; i < kWidth; ++i) {
      for (int j = 0; j < kWidth; ++j) y[at(i)] += weight[at(i * kWidth + j)] * input[at(j)];
    }
    if (!last()) return tensor_of(context, y);
    for (int i = 0; i < kWidth; ++i) loss += y[at(i)] * target(microbatch, i);
    return {};
  }

  Tensor backward_input(Context& context, int microbatch, const Tensor& dy, std::any& stash) override {
    check(dy.defined() != last(), "block {} got {} gradient", block_, dy.defined() ? "a" : "no");
    ToyStash& kept = *std::any_cast<std::shared_ptr<ToyStash>&>(stash);
    for (int i = 0; i < kWidth; ++i) kept.dy.push_back(last() ? target(microbatch, i) : dy.data<double>()[i]);
    Vec dx(kWidth, 0);
    for (int i = 0; i < kWidth; ++i) {
      for (int j = 0; j < kWidth; ++j) dx[at(j)] += weight[at(i * kWidth + j)] * kept.dy[at(i)];
    }
    // The later chunks' gradients by this one's input.
    Vec& later = later_[microbatch / shape_.sequence_chunks];
    if ((microbatch + 1) % shape_.sequence_chunks == 0) later.assign(kWidth, 0);
    for (int i = 0; i < kWidth; ++i) {
      const double own = dx[at(i)];
      dx[at(i)] += later[at(i)];
      later[at(i)] += 0.5 * own;
    }
    return block_ == 0 ? Tensor() : tensor_of(context, dx);
  }

  void backward_weight(Context&, std::any& stash) override {
    const ToyStash& kept = *std::any_cast<std::shared_ptr<ToyStash>&>(stash);
    for (int i = 0; i < kWidth; ++i) {
      for (int j = 0; j < kWidth; ++j) gradient[at(i * kWidth + j)] += kept.dy[at(i)] * kept.x[at(j)];
    }
  }

  Vec weight, gradient;
  double loss = 0;

 private:
  static size_t at(int i) { return static_cast<size_t>(i); }
  bool last() const { return block_ + 1 == shape_.placement.num_blocks(); }
  static double target(int microbatch, int i) { return 0.1 + std::sin(microbatch * 3.0 + i); }
  static Tensor tensor_of(Context& context, const Vec& values) {
    const Tensor tensor = context.empty({kWidth}, DType::kFloat64);
    std::copy(values.begin(), values.end(), tensor.data<double>());
    return tensor;
  }

  int block_;
  PipelineShape shape_;
  StashCount* count_;
  std::map<int, Vec> prefixes_, later_;  // by sequence
};

// What a step gives: the loss, and the gradients by block.
struct ToyResult {
  double loss = 0;
  std::vector<Vec> gradients;
};

struct ToyStage {
  ToyStage(const PipelineShape& shape, int rank) : blocks(shape.placement.blocks_of(rank)) {
    for (int block : blocks) stage.push_back(std::make_unique<ToyBlock>(block, shape, count.get()));
  }
  // Into its own places of the result; ranks have different ones.
  void collect(ToyResult& result) const {
    for (size_t i = 0; i < blocks.size(); ++i) {
      const auto& block = static_cast<const ToyBlock&>(*stage[i]);
      result.gradients[static_cast<size_t>(blocks[i])] = block.gradient;
      if (static_cast<size_t>(blocks[i]) + 1 == result.gradients.size()) result.loss = block.loss;
    }
  }

  std::vector<int> blocks;
  std::unique_ptr<StashCount> count = std::make_unique<StashCount>();
  Stage stage;
};

}  // namespace longspan::test
