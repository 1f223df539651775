// NCCL played by a script: time that only passes at a rest, and a link that answers what it is told to.
#pragma once

#include <algorithm>

#include "parallel/comm/nccl/library.h"
#include "tests/parallel/comm_support.h"

namespace longspan::test {

using nccl::Answer;

inline Answer in_progress() { return {.state = Answer::State::kInProgress, .text = {}}; }
inline Answer failed(const std::string& text) { return {.state = Answer::State::kFailed, .text = text}; }

// A millisecond passes with every rest; `at_rest` is called with their number so far.
class FakeClock final : public nccl::Clock {
 public:
  std::chrono::steady_clock::time_point now() override { return std::chrono::steady_clock::time_point{} + passed_; }
  void rest() override {
    passed_ += std::chrono::milliseconds(1);
    if (at_rest) at_rest(num_rests());
  }
  int num_rests() const { return static_cast<int>(passed_.count()); }
  std::function<void(int)> at_rest;

 private:
  std::chrono::milliseconds passed_{0};
};

// What a scripted link answers, and what it was asked; outlives it.
struct Script {
  Answer state, added, ready, end, finalized;
  std::string mark_error;  // mark() raises it
  std::vector<std::string> log;
  int count(const std::string& what) const { return static_cast<int>(std::count(log.begin(), log.end(), what)); }
};

class ScriptedLink final : public nccl::Link {
 public:
  explicit ScriptedLink(Script& script) : script_(script) {}
  ~ScriptedLink() override { script_.log.push_back("destroyed"); }

  Answer state() override {
    EXPECT_FALSE(aborted_) << "a link was used after its abort";
    return script_.state;
  }
  Answer all_reduce(const Tensor&, ReduceOp) override { return add("all_reduce"); }
  Answer broadcast(const Tensor&, int) override { return add("broadcast"); }
  Answer all_gather(const Tensor&, const Tensor&) override { return add("all_gather"); }
  Answer send_recv(const SendRecv&) override { return add("send_recv"); }
  Answer copy(void*, const void*, size_t) override { return add("copy"); }
  std::unique_ptr<nccl::Point> follow(Stream&) override {
    note("follow");
    return std::make_unique<ScriptedPoint>(script_.ready);
  }
  std::unique_ptr<nccl::Point> mark() override {
    note("mark");
    if (!script_.mark_error.empty()) throw CommError(script_.mark_error);
    return std::make_unique<ScriptedPoint>(script_.end);
  }
  Answer finalize() override {
    note("finalize");
    return busy_with(script_.finalized);
  }
  void abort() noexcept override {
    EXPECT_FALSE(aborted_) << "a link was aborted twice";
    aborted_ = true;
    script_.log.push_back("abort");
  }

 private:
  class ScriptedPoint final : public nccl::Point {
   public:
    explicit ScriptedPoint(const Answer& answer) : answer_(answer) {}
    Answer reached() override { return answer_; }

   private:
    const Answer& answer_;
  };
  void note(const std::string& what) {
    EXPECT_FALSE(aborted_) << what << " after the abort";
    EXPECT_NE(script_.state.state, Answer::State::kInProgress) << what << " while NCCL is busy";
    script_.log.push_back(what);
  }
  Answer add(const std::string& what) {
    note(what);
    return busy_with(script_.added);
  }

  // NCCL is busy with what it has not done at once; what it refuses, it forgets.
  Answer busy_with(const Answer& answer) {
    if (!answer.done() && !answer.failed()) script_.state = answer;
    return answer;
  }

  Script& script_;
  bool aborted_ = false;
};

}  // namespace longspan::test
