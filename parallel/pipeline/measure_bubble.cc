#include "parallel/pipeline/measure_bubble.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "parallel/comm/backends.h"
#include "parallel/pipeline/executor.h"

namespace longspan {

namespace {

using Clock = std::chrono::steady_clock;

class SleepingBlock final : public StageBlock {
 public:
  SleepingBlock(const PipelineShape& shape, const PipelineCosts& costs, int block, Clock::duration& slept)
      : shape_(shape), costs_(costs), block_(block), slept_(slept) {}

  Tensor forward(Context& context, int microbatch, const Tensor&, std::any* stash) override {
    const BlockCosts& costs = costs_.of(shape_, microbatch, block_);
    const auto bytes = static_cast<size_t>(costs.stash_bytes);
    *stash = Stash{microbatch, std::make_shared<const CountedBytes>(context.memory(), bytes, MemoryTag::kStash)};
    sleep(costs.forward_seconds);
    return block_ + 1 < shape_.placement.num_blocks() ? message(context) : Tensor();
  }

  Tensor backward_input(Context& context, int microbatch, const Tensor&, std::any&) override {
    sleep(costs_.of(shape_, microbatch, block_).backward_input_seconds);
    return block_ > 0 ? message(context) : Tensor();
  }

  void backward_weight(Context&, std::any& stash) override {
    sleep(costs_.of(shape_, std::any_cast<Stash&>(stash).microbatch, block_).backward_weight_seconds);
  }

  static Tensor message(const Context& context) { return context.zeros({1}, DType::kFloat64); }

 private:
  struct Stash {
    int microbatch = 0;
    std::shared_ptr<const CountedBytes> bytes;
  };
  // What the machine takes beyond the set time belongs to the sleep.
  void sleep(double seconds) {
    const auto begin = Clock::now();
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    slept_ += Clock::now() - begin;
  }

  const PipelineShape& shape_;
  const PipelineCosts& costs_;
  int block_;
  Clock::duration& slept_;  // of the rank
};

}  // namespace

MeasuredBubble measure_bubble(const PipelineProgram& program, const PipelineCosts& costs) {
  check_costs(costs, program.shape);
  std::vector<Clock::duration> slept(program.ranks.size(), Clock::duration{0}), took = slept;
  std::vector<int64_t> peaks(program.ranks.size());
  run_in_process(static_cast<int>(program.ranks.size()), [&](Communicator& world) {
    const auto rank = static_cast<size_t>(world.rank());
    const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
    Context::Options options;
    options.memory = memory;
    Context context(options);
    PipelineLink link(world);
    Stage stage;
    for (int block : program.shape.placement.blocks_of(world.rank())) {
      stage.push_back(std::make_unique<SleepingBlock>(program.shape, costs, block, slept[rank]));
    }
    world.barrier(context.stream());
    const auto begin = Clock::now();
    execute(context, program.ranks[rank], stage, [] {},
            {.link = link, .placement = program.shape.placement, .new_message = [&context](int) {
               return SleepingBlock::message(context);
             }});
    took[rank] = Clock::now() - begin;
    peaks[rank] = static_cast<int64_t>(memory->statistics().peak_by_tag[static_cast<size_t>(MemoryTag::kStash)]);
  });
  const auto seconds = [](Clock::duration time) { return std::chrono::duration<double>(time).count(); };
  MeasuredBubble measured{.makespan_seconds = seconds(*std::max_element(took.begin(), took.end())),
                          .peak_stash_bytes = std::move(peaks)};
  double busy = 0;
  for (const Clock::duration time : slept) busy += seconds(time);
  const double all = measured.makespan_seconds * static_cast<double>(slept.size());
  measured.bubble = all > 0 ? 1 - busy / all : 0;
  return measured;
}

}  // namespace longspan
