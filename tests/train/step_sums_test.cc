// Sums of gradients over the replicas: they move while backward still computes, whole runs take the steps of one rank with
// buckets of every size, and all ranks end with the same bits.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "tests/train/history.h"
#include "train/agreement.h"
#include "train/batch.h"
#include "train/model_state.h"
#include "train/pipeline_plan.h"
#include "train/rank_context.h"
#include "train/step_program.h"

namespace longspan::test {
namespace {

using namespace history;

constexpr int kBlocks = 4;  // of small_run: table, two layers, head

RunSpec double_run(const Folder& folder, const MeshShape& mesh) {
  RunSpec spec = small_run(folder, "");
  spec.output_directory = "";
  spec.compute_dtype = DType::kFloat64;
  spec.mesh = mesh;
  spec.num_steps = 4;
  spec.bucket_elements = 1;
  return spec;
}

std::vector<double> losses_of(const RunSpec& spec) {
  std::vector<double> losses;
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    Collect collect;
    train(spec, world, {}, collect, [] { return false; });
    if (world.rank() == 0) losses = collect.losses;
  });
  return losses;
}

TEST(StepSums, TakeTheStepsOfOneRankWithBucketsOfEverySize) {
  const Folder folder;
  RunSpec spec = double_run(folder, {});
  const std::vector<double> one = losses_of(spec);
  for (const MeshShape& mesh : {MeshShape{.data = 2}, MeshShape{.context = 3}, MeshShape{.data = 2, .context = 2, .tensor = 2},
                                MeshShape{.data = 4, .tensor = 3}, MeshShape{.data = 4, .context = 2}}) {
    for (const int64_t elements : {1, 5000, 1 << 20}) {
      for (const bool shares : {false, true}) {
        SCOPED_TRACE(fmt::format("{}, {} elements, shares {}", mesh.to_string(), elements, shares));
        RunSpec other = double_run(folder, mesh);
        other.bucket_elements = elements;
        if (shares) other.sharding = RunSpec::Sharding::kOptimizer;
        const std::vector<double> losses = losses_of(other);
        ASSERT_EQ(losses.size(), one.size());
        for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(losses[i], one[i], 1e-11 * one[i]) << "step " << i + 1;
      }
    }
  }
}

size_t hops_posted(const CommLog& log) {
  size_t count = 0;
  for (const CommRecord& record : log.records()) {
    count += record.kind == CommRecord::Kind::kSendRecvPosted && record.what == "replicas" ? 1 : 0;
  }
  return count;
}

// Does not begin its backward before all hops of the sums that have started were posted: with nothing but the hook of kernels to
// move them.
class PatientBlock final : public StageBlock {
 public:
  PatientBlock(std::unique_ptr<StageBlock> inner, const CommLog& log, size_t hops_before, size_t& missing)
      : inner_(std::move(inner)), log_(log), hops_before_(hops_before), missing_(missing) {}
  Tensor forward(Context& context, int microbatch, const Tensor& x, std::any* stash) override {
    return inner_->forward(context, microbatch, x, stash);
  }
  Tensor backward_input(Context& context, int microbatch, const Tensor& dy, std::any& stash) override {
    const auto begin = std::chrono::steady_clock::now();
    const size_t hops = microbatch == 1 ? hops_before_ : 0;
    while (hops_posted(log_) < hops && std::chrono::steady_clock::now() - begin < std::chrono::seconds(5)) context.progress();
    missing_ += hops - std::min(hops, hops_posted(log_));
    return inner_->backward_input(context, microbatch, dy, stash);
  }
  void backward_weight(Context& context, std::any& stash) override { inner_->backward_weight(context, stash); }

 private:
  std::unique_ptr<StageBlock> inner_;
  const CommLog& log_;
  size_t hops_before_;
  size_t& missing_;
};

TEST(StepSums, MoveWhileBackwardComputes) {
  const Folder folder;
  for (const bool shares : {false, true}) {
    RunSpec spec = double_run(folder, {.data = 3});
    spec.global_batch_sequences = 6;  // two microbatches; sums begin in the last
    spec.num_steps = 1;
    if (shares) spec.sharding = RunSpec::Sharding::kOptimizer;
    const size_t hops = shares ? 2 : 4;  // of a bucket
    run_in_process(3, [&](Communicator& plain) {
      const auto log = std::make_shared<CommLog>();
      const auto world = make_recording_communicator(plain, log);
      size_t missing = 0;
      struct Wrap final : TrainObserver {
        void on_model(Decoder& decoder) override {
          ASSERT_EQ(decoder.stage().size(), size_t{kBlocks});
          at_begin = hops_posted(*log);  // of the weights
          for (size_t b = 0; b < kBlocks; ++b) wrap(decoder.stage()[b], at_begin + (kBlocks - 1 - b) * hops);
        }
        void wrap(std::unique_ptr<StageBlock>& block, size_t hops_before) {
          block = std::make_unique<PatientBlock>(std::move(block), *log, hops_before, *missing);
        }
        void on_gradients(const Context&, int64_t, const ParameterSet&) override { at_end = hops_posted(*log); }
        const CommLog* log = nullptr;
        size_t hops = 0, at_begin = 0, at_end = 0;
        size_t* missing = nullptr;
      } wrap;
      wrap.log = log.get();
      wrap.hops = hops;
      wrap.missing = &missing;
      train(spec, *world, {}, wrap, [] { return false; });
      EXPECT_EQ(missing, 0u) << "hops that were left for later";
      EXPECT_EQ(wrap.at_end - wrap.at_begin, kBlocks * hops);
    });
  }
}

// What ranks hold alike is the same to the last bit on all of them, and the next time.
TEST(StepSums, LeaveTheSameBitsOnAllRanks) {
  const Folder folder;
  RunSpec spec = double_run(folder, {.data = 3, .tensor = 4});  // key heads are held by two ranks each
  spec.compute_dtype = DType::kFloat32;
  spec.global_batch_sequences = 6;
  struct Watch final : TrainObserver {
    void on_gradients(const Context& context, int64_t, const ParameterSet& parameters) override {
      for (const auto& p : parameters.all()) {
        const Tensor t = context.to_host(p->gradient);
        if (p->box == Box::all_of(p->box.whole)) {
          norms.insert(norms.end(), t.data<float>(), t.data<float>() + t.num_elements());
        } else {
          own.insert(own.end(), t.data<float>(), t.data<float>() + t.num_elements());
        }
      }
    }
    std::vector<float> norms, own;
  };
  std::vector<Watch> first(12), second(12);
  for (auto* watches : {&first, &second}) {
    run_in_process(12, [&](Communicator& world) {
      train(spec, world, {}, (*watches)[static_cast<size_t>(world.rank())], [] { return false; });
    });
  }
  ASSERT_FALSE(first[0].norms.empty());
  for (size_t rank = 0; rank < 12; ++rank) {
    EXPECT_EQ(first[rank].norms, first[0].norms) << "rank " << rank;
    EXPECT_EQ(first[rank].own, first[rank % 4].own) << "rank " << rank;
    EXPECT_EQ(first[rank].own, second[rank].own) << "rank " << rank;
  }
}

// Of other costs than those that were counted, so that ranks do other things in the next step.
TEST(StepProgram, KeepsItsBitsWhenItIsPlannedAgain) {
  const Folder folder;
  RunSpec spec = double_run(folder, {.pipeline = 3, .data = 2});
  spec.model.num_layers = 7;
  spec.global_batch_sequences = 12;
  spec.pipeline.schedule = PipelineSchedule::kZeroBubble;
  PipelineCosts costs = pipeline_costs(spec);
  for (size_t b = 0; b < costs.blocks.size(); ++b) {
    const auto i = static_cast<double>(b);
    costs.blocks[b] = {.forward_seconds = 0.5 + std::fmod(7 * i, 11) * 0.1,
                       .backward_input_seconds = 0.5 + std::fmod(5 * i, 13) * 0.15,
                       .backward_weight_seconds = std::fmod(3 * i, 7) * 0.15,
                       .stash_bytes = costs.blocks[b].stash_bytes};
  }
  run_in_process(6, [&](Communicator& world) {
    RankContext rank(spec.compute_dtype, {});
    Context& context = rank.context();
    const ProcessMesh mesh(world, spec.mesh);
    TrainObserver silent;
    const auto attention = make_attention(context, spec, mesh, silent);
    PipelineStage stage(spec, mesh);
    Decoder decoder(spec.model, {.attention = *attention, .tensor = mesh.axis(Axis::kTensor)}, spec.loss_tile_tokens,
                    stage.blocks());
    StepProgram program(context, spec, mesh, stage, decoder);
    const Dataset data = open_dataset(spec.data, spec.seed, spec.model.vocabulary_size, Order::kShuffled);
    const BatchLoader loader(spec, data, mesh);
    decoder.parameters().materialize(context, ParameterSet::Purpose::kTraining, state_share(spec, mesh));
    initialize_weights(context, spec, mesh, decoder.parameters());
    const auto gradients = [&] {
      decoder.microbatches() = loader.load(context, 1);
      program.run(context);
      decoder.microbatches().clear();
      std::vector<double> all;
      for (const ParameterSet::Part& part : decoder.parameters().parts()) {
        const auto* g = part.gradient.data<double>();
        all.insert(all.end(), g, g + part.gradient.num_elements());
      }
      return all;
    };
    const std::vector<double> first = gradients();
    const std::string text = program.plan_again(context, costs);
    EXPECT_NE(text.find("is bubble, instead of"), std::string::npos) << "the same program: " << text;
    EXPECT_EQ(gradients(), first);
  });
}

TEST(StepProgram, RanksThatPlanOtherThingsAllSaySo) {
  std::atomic<int> told{0};
  run_in_process(3, [&](Communicator& world) {
    const Context context({});
    const std::vector<Program> one = {single_stage_program(2, 3)}, other = {single_stage_program(3, 2)};
    agree_on_programs(context, world, one);
    try {
      agree_on_programs(context, world, world.rank() == 1 ? other : one);
    } catch (const Error& error) {
      told += std::string(error.what()).find("different programs of 1 stages") != std::string::npos ? 1 : 0;
    }
  });
  EXPECT_EQ(told, 3);
}

// One rank has nobody to sum with.
TEST(StepSums, OfOneRankAreNotInItsProgram) {
  const auto alone = make_self_communicator();
  const ProcessMesh mesh(*alone, {});
  RunSpec run;
  ModelSpec& model = run.model;
  model.vocabulary_size = model.hidden_size = model.mlp_size = model.head_dim = 8;
  model.num_layers = model.num_heads = model.num_kv_heads = 1;
  Decoder decoder(model, *alone, 16);
  run.global_batch_sequences = 2;
  run.bucket_elements = 1;
  PipelineStage stage(run, mesh);
  const Context context({});
  EXPECT_EQ(StepProgram(context, run, mesh, stage, decoder).num_actions(), single_stage_program(2, 3).size());
}

}  // namespace
}  // namespace longspan::test
