#include "parallel/pipeline/executor.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>

#include "core/base/error.h"

namespace longspan {

namespace {

using Kind = Action::Kind;
using Key = std::pair<int, int>;  // (microbatch, block)
using Clock = std::chrono::steady_clock;

// What an action is called in a trace.
const char* name_of(Kind kind) {
  constexpr const char* kNames[] = {"forward",         "backward",           "weight",        "reduce",          "start reduce",
                                    "send activation", "receive activation", "send gradient", "receive gradient"};
  return kNames[static_cast<int>(kind)];
}

// What goes from one block to another; with the work that brings it, if it comes from another rank.
struct Flow {
  Tensor tensor;
  Work arrival;
};

class Interpreter {
 public:
  Interpreter(Context& context, Stage& stage, GradientSums& sums, const PipelineRank* pipeline)
      : context_(context), stage_(stage), sums_(sums), pipeline_(pipeline), num_blocks_(static_cast<int>(stage.size())) {
    if (!pipeline) return;
    num_blocks_ = pipeline->placement.num_blocks();
    local_.assign(static_cast<size_t>(num_blocks_), -1);
    int next = 0;
    for (int block : pipeline->placement.blocks_of(pipeline->link.rank())) local_[static_cast<size_t>(block)] = next++;
    check(next == static_cast<int>(stage.size()), "a stage of {} blocks, but rank {} of the pipeline holds {}", stage.size(),
          pipeline->link.rank(), next);
  }

  void run(const Program& program) {
    keeps_stashes_ = std::any_of(program.begin(), program.end(), [](const Action& a) { return a.kind == Kind::kBackwardInput; });
    for (const Action& action : program) {
      if (action.computes()) {
        compute(action);
        sums_.after_compute();
      } else if (action.kind == Kind::kReduce) {
        wait_for_sends(0);
        const TraceRange range(context_.tracer(), TimeCategory::kCommunication, name_of(action.kind));
        sums_.finish();
      } else if (action.kind == Kind::kStartReduce) {
        const TraceRange range(context_.tracer(), TimeCategory::kCommunication, name_of(action.kind), {.block = action.block});
        sums_.start(action);
      } else {
        move(action);
      }
    }
    wait_for_sends(0);
  }

 private:
  void compute(const Action& action) {
    const Key key{action.microbatch, action.block};
    StageBlock& block = block_at(action.block);
    // What arrives is waited for outside the range, which is of compute alone.
    const bool forward = action.kind == Kind::kForward;
    Tensor tensor = action.kind == Kind::kBackwardWeight ? Tensor() : take(forward ? inputs_ : gradients_, key);
    const TraceRange range(context_.tracer(), TimeCategory::kCompute, name_of(action.kind),
                           {.microbatch = action.microbatch, .block = action.block, .layer = block.layer()});
    const auto begin = Clock::now();
    if (forward) {
      tensor = block.forward(context_, action.microbatch, tensor, keeps_stashes_ ? &stashes_[key] : nullptr);
      if (action.block + 1 < num_blocks_) inputs_[{action.microbatch, action.block + 1}].tensor = std::move(tensor);
    } else if (action.kind == Kind::kBackwardInput) {
      tensor = block.backward_input(context_, action.microbatch, tensor, stashes_.at(key));
      if (action.block > 0) gradients_[{action.microbatch, action.block - 1}].tensor = std::move(tensor);
    } else {
      block.backward_weight(context_, stashes_.at(key));
      stashes_.erase(key);
    }
    if (pipeline_ && pipeline_->times) measure(action, begin, *pipeline_->times);
  }

  void measure(const Action& action, Clock::time_point begin, BlockTimes& times) {
    if (context_.stream().on_device()) context_.stream().synchronize();
    times.add(action, std::chrono::duration<double>(Clock::now() - begin).count());
  }

  // Posts a message.
  void move(const Action& action) {
    check(pipeline_ != nullptr, "{} in a program that runs alone", action.to_string());
    const bool activation = action.kind == Kind::kSendActivation || action.kind == Kind::kReceiveActivation;
    std::map<Key, Flow>& flows = activation ? inputs_ : gradients_;
    const TraceRange range(context_.tracer(), TimeCategory::kCommunication, name_of(action.kind),
                           {.microbatch = action.microbatch, .block = action.block});
    if (action.receives()) {
      Flow flow{.tensor = pipeline_->new_message(action.microbatch), .arrival = {}};
      flow.arrival = pipeline_->link.receive(context_.stream(), flow.tensor, action.peer);
      flows[{action.microbatch, action.block}] = std::move(flow);
      return;
    }
    // What leaves lies where the block behind it would look for it.
    const Tensor tensor = take(flows, {action.microbatch, action.block + (activation ? 1 : -1)});
    sends_.push_back(pipeline_->link.send(context_.stream(), tensor, action.peer));
    while (!sends_.empty() && sends_.front().test()) sends_.pop_front();
    wait_for_sends(static_cast<size_t>(pipeline_->max_sends));
  }

  void wait_for_sends(size_t most) {
    while (sends_.size() > most) {
      wait(sends_.front());
      sends_.pop_front();
    }
  }

  // For another rank of the pipeline. Sums go on meanwhile.
  void wait(Work& work) {
    if (!pipeline_) return;
    const auto deadline = Clock::now() + pipeline_->link.timeout();
    work.wait([&] {
      context_.progress();
      return sums_.under_way() && Clock::now() < deadline;
    });
  }

  // Empty where nothing flows: into the first block, and back into the last.
  Tensor take(std::map<Key, Flow>& flows, const Key& key) {
    auto flow = flows.extract(key);
    if (flow.empty()) return {};
    wait(flow.mapped().arrival);
    return std::move(flow.mapped().tensor);
  }

  StageBlock& block_at(int block) {
    return *stage_.at(static_cast<size_t>(pipeline_ ? local_.at(static_cast<size_t>(block)) : block));
  }

  Context& context_;
  Stage& stage_;
  GradientSums& sums_;
  const PipelineRank* pipeline_;            // null: the program runs alone
  int num_blocks_;                          // of the model
  std::vector<int> local_;                  // by block of the model: its place in the stage
  std::map<Key, Flow> inputs_, gradients_;  // by the block that reads them
  bool keeps_stashes_ = true;
  std::map<Key, std::any> stashes_;
  std::deque<Work> sends_;
};

class SumsAtTheEnd final : public GradientSums {
 public:
  explicit SumsAtTheEnd(const std::function<void()>& reduce) : reduce_(reduce) {}
  void start(const Action& action) override { check(false, "{} where all is summed at the end", action.to_string()); }
  void finish() override { reduce_(); }

 private:
  const std::function<void()>& reduce_;
};

}  // namespace

void execute(Context& context, const Program& program, Stage& stage, GradientSums& sums, const PipelineRank* pipeline) {
  if (!pipeline) return Interpreter(context, stage, sums, nullptr).run(program);
  pipeline->link.connect(context);
  const Context::ProgressGuard progress(context, [pipeline] { pipeline->link.progress(); });
  Interpreter(context, stage, sums, pipeline).run(program);
}

void execute(Context& context, const Program& program, Stage& stage, const std::function<void()>& reduce) {
  SumsAtTheEnd sums(reduce);
  execute(context, program, stage, sums);
}

void execute(Context& context, const Program& program, Stage& stage, const std::function<void()>& reduce,
             const PipelineRank& pipeline) {
  SumsAtTheEnd sums(reduce);
  execute(context, program, stage, sums, &pipeline);
}

}  // namespace longspan
