// Evaluations on meshes: the loss of one rank, of weights that ranks share as in training; several sequences, or chunks of one,
// under way in a pipeline at once.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/decoder.h"
#include "tests/train/history.h"
#include "train/memory_need.h"

namespace longspan::test {
namespace {

using namespace history;
using Sharding = RunSpec::Sharding;

// 11 held-out sequences; in a step 24, each a microbatch.
RunSpec evaluated_run(const Folder& folder, const std::string& output, const MeshShape& mesh, Sharding state) {
  RunSpec spec = small_run(folder, output);
  if (output.empty()) spec.output_directory = "";
  spec.compute_dtype = DType::kFloat64;
  spec.model.num_layers = 5;
  spec.data.sequence_length = 37;
  spec.evaluation.data = spec.data;
  spec.evaluation.interval_steps = 1;
  spec.evaluation.max_sequences = 11;
  spec.global_batch_sequences = 24;
  spec.num_steps = 1;
  spec.bucket_elements = 1;
  spec.mesh = mesh;
  spec.sharding = state;
  return spec;
}

// Of each forward without gradients through the first block of a rank: how many microbatches are under way. Wraps it.
class CountMicrobatches final : public StageBlock {
 public:
  CountMicrobatches(std::unique_ptr<StageBlock> inner, Decoder& decoder, std::vector<size_t>& counts)
      : inner_(std::move(inner)), decoder_(decoder), counts_(counts) {}
  int layer() const override { return inner_->layer(); }
  Tensor forward(Context& context, int microbatch, const Tensor& x, std::any* stash) override {
    if (!stash && microbatch == 0) counts_.push_back(decoder_.microbatches().size());
    return inner_->forward(context, microbatch, x, stash);
  }
  Tensor backward_input(Context& context, int microbatch, const Tensor& dy, std::any& stash) override {
    return inner_->backward_input(context, microbatch, dy, stash);
  }
  void backward_weight(Context& context, std::any& stash) override { inner_->backward_weight(context, stash); }

 private:
  std::unique_ptr<StageBlock> inner_;
  Decoder& decoder_;
  std::vector<size_t>& counts_;
};

struct WhileTraining {
  std::vector<double> losses;
  std::vector<std::vector<size_t>> at_once;  // microbatches of each forward program, by rank
};

WhileTraining evaluate_while_training(const RunSpec& spec) {
  struct Watch final : TrainObserver {
    void on_model(Decoder& decoder) override {
      auto& first = decoder.stage().front();
      first = std::make_unique<CountMicrobatches>(std::move(first), decoder, counts);
    }
    void on_evaluation(const EvaluationReport& r) override { losses.push_back(r.loss); }
    std::vector<double> losses;
    std::vector<size_t> counts;
  };
  const auto num_ranks = static_cast<size_t>(spec.mesh.num_ranks());
  std::vector<std::vector<double>> losses(num_ranks);
  WhileTraining result;
  result.at_once.resize(num_ranks);
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    Watch watch;
    train(spec, world, {}, watch, [] { return false; });
    losses[static_cast<size_t>(world.rank())] = watch.losses;
    result.at_once[static_cast<size_t>(world.rank())] = watch.counts;
  });
  for (const auto& of_rank : losses) EXPECT_EQ(of_rank, losses[0]);
  result.losses = losses[0];
  return result;
}

struct Evaluated {
  EvaluationResult result;
  std::vector<int64_t> weight_bytes;  // most, by rank
};

Evaluated evaluate_on_mesh(const RunSpec& spec) {
  Evaluated evaluated;
  evaluated.weight_bytes.resize(static_cast<size_t>(spec.mesh.num_ranks()));
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    const auto memory = std::make_shared<StatisticsResource>(std::make_shared<HostResource>());
    TrainObserver silent;
    const EvaluationResult result = evaluate(spec, world, {.memory = memory}, silent);
    evaluated.weight_bytes[static_cast<size_t>(world.rank())] =
        memory->statistics().peak_by_tag[static_cast<size_t>(MemoryTag::kWeights)];
    if (world.rank() == 0) evaluated.result = result;
  });
  return evaluated;
}

void expect_near(const EvaluationResult& got, const EvaluationResult& want) {
  EXPECT_NEAR(got.report.loss, want.report.loss, 1e-11 * want.report.loss);
  EXPECT_EQ(got.report.tokens, want.report.tokens);
  ASSERT_EQ(got.documents.size(), want.documents.size());
  for (size_t d = 0; d < want.documents.size(); ++d) {
    EXPECT_EQ(got.documents[d].tokens, want.documents[d].tokens);
    EXPECT_EQ(got.documents[d].predicted_tokens, want.documents[d].predicted_tokens);
    EXPECT_NEAR(got.documents[d].loss_sum, want.documents[d].loss_sum, 1e-11 * want.documents[d].loss_sum);
  }
}

// Many layers, so that the block at work and the next are little.
TEST(Evaluation, OfSharedWeightsHoldsTheShareOfEachRank) {
  const Folder folder;
  for (const auto tie : {ModelSpec::Tie::kNo, ModelSpec::Tie::kYes}) {
    int number = 0;
    for (const MeshShape& mesh : {MeshShape{.data = 2, .context = 2}, MeshShape{.pipeline = 2, .data = 4},
                                  MeshShape{.pipeline = 2, .data = 2, .tensor = 2}, MeshShape{.pipeline = 2, .context = 4}}) {
      SCOPED_TRACE(fmt::format("{}, tied {}", mesh.to_string(), static_cast<int>(tie)));
      RunSpec spec = evaluated_run(folder, fmt::format("{}_{}", static_cast<int>(tie), number++), mesh, Sharding::kWeights);
      spec.model.num_layers = 20;
      spec.model.tie_embeddings = tie;
      const std::vector<double> trained = evaluate_while_training(spec).losses;
      RunSpec alone = spec;
      alone.mesh = {};
      const Evaluated one = evaluate_on_mesh(alone), shared = evaluate_on_mesh(spec);
      EXPECT_EQ(one.result.report.step, 1);
      EXPECT_NEAR(trained.at(0), one.result.report.loss, 1e-11 * one.result.report.loss);
      expect_near(shared.result, one.result);
      RunSpec whole = spec;
      whole.sharding = Sharding::kNone;
      const Evaluated not_shared = evaluate_on_mesh(whole);
      expect_near(not_shared.result, one.result);
      const double sharers = mesh.data * mesh.context, layer = static_cast<double>(one.weight_bytes[0]) / 22 / mesh.tensor;
      for (size_t rank = 0; rank < shared.weight_bytes.size(); ++rank) {
        const auto held = static_cast<double>(shared.weight_bytes[rank]);
        const auto all = static_cast<double>(not_shared.weight_bytes[rank]);
        EXPECT_LE(held, all / sharers + 2 * 1.5 * layer) << "rank " << rank;
        EXPECT_GE(held, all / sharers) << "rank " << rank;
      }
    }
  }
}

// What is refused beforehand: no more than is held, and most of it. Of small models the block that is gathered next is the rest.
TEST(Evaluation, KnowsWhatSharedWeightsNeed) {
  const Folder folder;
  int number = 0;
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    for (const Sharding state : {Sharding::kNone, Sharding::kOptimizer, Sharding::kGradients, Sharding::kWeights}) {
      for (const MeshShape& mesh : {MeshShape{.data = 4}, MeshShape{.pipeline = 2, .context = 2}}) {
        SCOPED_TRACE(fmt::format("{}, state {}", mesh.to_string(), static_cast<int>(state)));
        RunSpec spec = evaluated_run(folder, fmt::format("{}", number++), mesh, state);
        spec.model.num_layers = 12;
        spec.model.hidden_size = 128;
        spec.model.head_dim = 32;
        spec.model.mlp_size = 256;
        spec.compute_dtype = dtype;
        spec.global_batch_sequences = 4;
        evaluate_while_training(spec);
        const std::vector<int64_t> held = evaluate_on_mesh(spec).weight_bytes;
        const double most = static_cast<double>(*std::max_element(held.begin(), held.end())), need = inference_weight_bytes(spec);
        EXPECT_LE(need, most);
        EXPECT_GE(need, (state == Sharding::kWeights ? 0.75 : 0.98) * most);
      }
    }
  }
}

TEST(Evaluation, WhileTrainingOnAPipelineOfSharedWeightsIsThatOfOneRank) {
  const Folder folder;
  const double one = evaluate_while_training(evaluated_run(folder, "", {}, Sharding::kNone)).losses.at(0);
  for (const MeshShape& mesh : {MeshShape{.pipeline = 2, .data = 2}, MeshShape{.pipeline = 3, .data = 2, .context = 2},
                                MeshShape{.pipeline = 2, .data = 3, .tensor = 2}}) {
    for (const Sharding state : {Sharding::kGradients, Sharding::kWeights}) {
      RunSpec spec = evaluated_run(folder, "", mesh, state);
      spec.num_steps = 2;  // a step after an evaluation
      EXPECT_NEAR(evaluate_while_training(spec).losses.at(0), one, 1e-11 * one) << mesh.to_string();
    }
  }
}

// No matter how many ranks of the data axis have a sequence, or one less than others.
TEST(Evaluation, OfFewerSequencesThanDataRanks) {
  const Folder folder;
  for (const int64_t sequences : {1, 3, 5}) {
    const auto with = [&](const MeshShape& mesh, Sharding state) {
      RunSpec spec = evaluated_run(folder, "", mesh, state);
      spec.evaluation.max_sequences = sequences;
      return evaluate_while_training(spec).losses.at(0);
    };
    const double one = with({}, Sharding::kNone);
    for (const Sharding state : {Sharding::kNone, Sharding::kOptimizer, Sharding::kWeights}) {
      for (const MeshShape& mesh :
           {MeshShape{.data = 4}, MeshShape{.pipeline = 2, .data = 4}, MeshShape{.data = 2, .context = 2}}) {
        EXPECT_NEAR(with(mesh, state), one, 1e-11 * one) << sequences << " on " << mesh.to_string();
      }
    }
  }
}

// Not more than a step has: the loss has the same bits, whatever a step has.
TEST(Evaluation, SendsSeveralSequencesThroughAPipeline) {
  const Folder folder;
  const auto with = [&](int64_t batch, const MeshShape& mesh) {
    RunSpec spec = evaluated_run(folder, "", mesh, Sharding::kWeights);
    spec.global_batch_sequences = batch;
    spec.optimizer.learning_rate = 0;  // of the weights that the seed gives
    return evaluate_while_training(spec);
  };
  const MeshShape stages = {.pipeline = 2}, with_data = {.pipeline = 2, .data = 2};
  const WhileTraining one_by_one = with(1, stages), some = with(3, stages), many = with(24, stages);
  for (size_t rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(one_by_one.at_once[rank], std::vector<size_t>(11, 1)) << rank;
    EXPECT_EQ(some.at_once[rank], (std::vector<size_t>{3, 3, 3, 2})) << rank;
    EXPECT_EQ(many.at_once[rank], (std::vector<size_t>{8, 3})) << "4 for each stage; rank " << rank;
  }
  RunSpec longer = evaluated_run(folder, "", stages, Sharding::kNone);
  longer.evaluation.data->sequence_length = 2 * longer.data.sequence_length;
  longer.global_batch_sequences = 5;
  EXPECT_EQ(evaluate_while_training(longer).at_once[0].front(), 2u) << "no more tokens than a step has";
  EXPECT_EQ(some.losses, one_by_one.losses);
  EXPECT_EQ(many.losses, one_by_one.losses);
  const WhileTraining shared = with(8, with_data), shared_one_by_one = with(2, with_data);
  for (size_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(shared.at_once[rank], (std::vector<size_t>{4, 2})) << "with one that does not count; rank " << rank;
  }
  EXPECT_EQ(shared.losses, shared_one_by_one.losses);
  EXPECT_EQ(with(24, {}).at_once[0], std::vector<size_t>(11, 1)) << "nobody waits";
}

TEST(Evaluation, CutsSequencesAsAStepDoes) {
  const Folder folder;
  for (const Packing packing : {Packing::kDocuments, Packing::kStream}) {
    const auto with = [&](const MeshShape& mesh, const PipelineSpec& pipeline, Sharding state) {
      RunSpec spec = evaluated_run(folder, "", mesh, state);
      spec.pipeline = pipeline;
      spec.data.packing = spec.evaluation.data->packing = packing;
      return evaluate_while_training(spec);
    };
    const double one = with({}, {}, Sharding::kNone).losses.at(0);
    const auto expect = [&](const WhileTraining& got, const std::vector<size_t>& at_once) {
      EXPECT_NEAR(got.losses.at(0), one, 1e-11 * one);
      for (const auto& of_rank : got.at_once) EXPECT_EQ(of_rank, at_once);
    };
    expect(with({.pipeline = 2}, {.sequence_chunks = 3}, Sharding::kNone), {6, 6, 6, 6, 6, 3});
    expect(with({.pipeline = 2, .data = 2}, {.sequence_chunks = 3}, Sharding::kWeights), {6, 6, 6});
    expect(with({}, {.sequence_chunks = 4}, Sharding::kNone), std::vector<size_t>(11, 4));
    const PipelineSpec dealt = {.schedule = PipelineSchedule::kInterleaved, .chunks_per_stage = 2, .sequence_chunks = 2};
    expect(with({.pipeline = 2}, dealt, Sharding::kNone), {8, 8, 6});
  }
}

// The last of 34 sequences has one token: chunks of it, and pieces of it on a ring, are empty.
TEST(Evaluation, CutsALastSequenceThatIsShorter) {
  const Folder folder;
  const auto with = [&](const MeshShape& mesh, const PipelineSpec& pipeline, Sharding state) {
    RunSpec spec = evaluated_run(folder, "", mesh, state);
    spec.pipeline = pipeline;
    spec.data.sequence_length = spec.evaluation.data->sequence_length = 34;
    spec.evaluation.max_sequences = 0;
    return evaluate_while_training(spec).losses.at(0);
  };
  const double one = with({}, {}, Sharding::kNone);
  EXPECT_NEAR(with({.pipeline = 2, .data = 2}, {.sequence_chunks = 3}, Sharding::kWeights), one, 1e-11 * one);
  EXPECT_NEAR(with({.pipeline = 2}, {.sequence_chunks = 34}, Sharding::kNone), one, 1e-11 * one);
  EXPECT_NEAR(with({.pipeline = 2, .context = 3}, {}, Sharding::kWeights), one, 1e-11 * one);
}

// A checkpoint of such a run goes to ranks that share each sequence: there sequences stay whole.
TEST(Evaluation, DoesNotCutWhatRanksShare) {
  const Folder folder;
  RunSpec spec = evaluated_run(folder, "run", {.pipeline = 2}, Sharding::kNone);
  spec.pipeline.sequence_chunks = 3;
  const double trained = evaluate_while_training(spec).losses.at(0);
  EXPECT_NEAR(evaluate_on_mesh(spec).result.report.loss, trained, 1e-11 * trained);
  for (const MeshShape& mesh : {MeshShape{.context = 3}, MeshShape{.pipeline = 2, .context = 2}}) {
    spec.mesh = mesh;
    EXPECT_NEAR(evaluate_on_mesh(spec).result.report.loss, trained, 1e-11 * trained) << mesh.to_string();
  }
  spec.mesh = {};
  spec.pipeline.sequence_chunks = 38;  // more than tokens
  EXPECT_NEAR(evaluate_on_mesh(spec).result.report.loss, trained, 1e-11 * trained);
}

}  // namespace
}  // namespace longspan::test
