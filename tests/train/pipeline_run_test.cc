// Whole runs on meshes with a pipeline axis: the steps of one rank by every schedule, alone and with other axes, and checkpoints
// that every mesh reads.
#include <gtest/gtest.h>

#include "model/decoder.h"
#include "tests/train/history.h"
#include "train/checkpoint.h"
#include "train/pipeline_plan.h"
#include "train/plan/traffic.h"
#include "train/rank_context.h"

namespace longspan::test {
namespace {

using namespace history;

constexpr int kSteps = 4;

// 7 blocks, of which the head is the dearest; 4 sequences a step, each a microbatch.
RunSpec double_run(const Folder& folder, const std::string& output, MeshShape mesh) {
  RunSpec spec = small_run(folder, output);
  if (output.empty()) spec.output_directory = "";
  spec.compute_dtype = DType::kFloat64;
  spec.model.num_layers = 5;
  spec.model.qk_norm = ModelSpec::QkNorm::kYes;
  spec.data.sequence_length = 41;
  spec.optimizer.gradient_clip = 0.1;  // clips in every step, so the norm counts
  spec.num_steps = kSteps;
  spec.mesh = mesh;
  return spec;
}

struct Outcome {
  std::vector<double> losses, norms, evaluations;
  std::vector<double> weights;  // at the end, of the whole model; where the run has a folder
  int64_t num_parameters = 0;
  double model_flop = 0;
};

std::vector<double> weights_of(const RunSpec& spec) {
  const auto alone = make_self_communicator();
  RankContext rank(spec.compute_dtype, {});
  Decoder whole(spec.model, *alone, spec.loss_tile_tokens);
  std::vector<NamedTensor> tensors;
  for (const auto& p : whole.parameters().all()) tensors.push_back({p->name, rank.context().empty(p->shape, DType::kFloat64)});
  load_checkpoint(list_checkpoints(spec.output_directory).front().path, tensors, to_string(spec.model));
  std::vector<double> all;
  for (const NamedTensor& t : tensors) {
    all.insert(all.end(), t.tensor.data<double>(), t.tensor.data<double>() + t.tensor.num_elements());
  }
  return all;
}

// Every rank must say the same.
Outcome run_on_mesh(const RunSpec& spec, int stop_after = 0) {
  struct Watch final : TrainObserver {
    void on_start(const RunFacts& facts) override { run.num_parameters = facts.num_parameters; }
    void on_step(const StepReport& r) override {
      run.losses.push_back(r.loss);
      run.norms.push_back(r.grad_norm);
      run.model_flop = r.model_flop;
    }
    void on_evaluation(const EvaluationReport& r) override { run.evaluations.push_back(r.loss); }
    Outcome run;
  };
  std::vector<Outcome> runs(static_cast<size_t>(spec.mesh.num_ranks()));
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    Watch watch;
    const bool asked = world.rank() + 1 == world.size();  // one rank's wish stops all
    train(spec, world, {}, watch, [&] {
      return asked && stop_after > 0 && static_cast<int>(watch.run.losses.size()) + 1 >= stop_after;
    });
    runs[static_cast<size_t>(world.rank())] = watch.run;
  });
  for (const Outcome& other : runs) {
    EXPECT_EQ(other.losses, runs[0].losses);
    EXPECT_EQ(other.norms, runs[0].norms);
    EXPECT_EQ(other.evaluations, runs[0].evaluations);
    EXPECT_EQ(other.num_parameters, runs[0].num_parameters);
    EXPECT_EQ(other.model_flop, runs[0].model_flop);
  }
  if (!spec.output_directory.empty()) runs[0].weights = weights_of(spec);
  return runs[0];
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, const char* what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double largest = 0, worst = 0;
  for (const double x : want) largest = std::max(largest, std::abs(x));
  for (size_t i = 0; i < got.size(); ++i) worst = std::max(worst, std::abs(got[i] - want[i]));
  EXPECT_LE(worst, 1e-11 * largest) << what;
}

void expect_near(const Outcome& got, const Outcome& want) {
  expect_near(got.losses, want.losses, "losses");
  expect_near(got.norms, want.norms, "norms");
  expect_near(got.evaluations, want.evaluations, "evaluations");
  expect_near(got.weights, want.weights, "weights");
  EXPECT_EQ(got.num_parameters, want.num_parameters);
  EXPECT_EQ(got.model_flop, want.model_flop);
}

struct Way {
  PipelineSchedule schedule;
  int stages, chunks;
};

constexpr Way kWays[] = {{PipelineSchedule::kGPipe, 2, 1},       {PipelineSchedule::kOneForwardOneBackward, 2, 1},
                         {PipelineSchedule::kZeroBubble, 2, 1},  {PipelineSchedule::kGPipe, 4, 1},
                         {PipelineSchedule::kZeroBubble, 4, 1},  {PipelineSchedule::kOneForwardOneBackward, 4, 1},
                         {PipelineSchedule::kInterleaved, 2, 2}, {PipelineSchedule::kGPipe, 2, 2},
                         {PipelineSchedule::kInterleaved, 2, 3}, {PipelineSchedule::kGPipe, 1, 1},
                         {PipelineSchedule::kGPipe, 7, 1},       {PipelineSchedule::kInterleaved, 1, 3}};

TEST(PipelineRun, EveryScheduleTakesTheStepsOfOneRank) {
  const Folder folder;
  for (const bool tied : {false, true}) {
    std::map<std::pair<int, int>, Outcome> by_placement;
    const auto with = [&](const std::string& output, const Way& way) {
      RunSpec spec = double_run(folder, output + (tied ? "_tied" : ""), {.pipeline = way.stages});
      spec.pipeline = {.schedule = way.schedule, .chunks_per_stage = way.chunks};
      if (tied) spec.model.tie_embeddings = ModelSpec::Tie::kYes;
      return spec;
    };
    const Outcome one = run_on_mesh(with("one", {PipelineSchedule::kOneForwardOneBackward, 1, 1}));
    ASSERT_EQ(one.losses.size(), static_cast<size_t>(kSteps));
    for (const double norm : one.norms) EXPECT_GT(norm, 0.1);
    for (const Way& way : kWays) {
      const std::string name = fmt::format("{}_{}_{}", longspan::name(way.schedule), way.stages, way.chunks);
      SCOPED_TRACE(name + (tied ? ", tied" : ""));
      const Outcome got = run_on_mesh(with(name, way));
      expect_near(got, one);
      if (way.stages == 1) continue;  // of a tied table one rank sums both shares into one place, as they come
      const auto [first, is_new] = by_placement.try_emplace({way.stages, way.chunks}, got);
      if (is_new) continue;
      EXPECT_EQ(got.losses, first->second.losses) << "to the last bit";
      EXPECT_EQ(got.weights, first->second.weights) << "to the last bit";
    }
  }
}

// After two steps, by what they measured. That the weights of all steps are those of the other schedules is shown above.
TEST(PipelineRun, ZeroBubbleIsPlannedAgainByTheTimesOfItsBlocks) {
  const Folder folder;
  const auto notes_of = [&](PipelineSchedule schedule, RunSpec::Sharding sharding) {
    RunSpec spec = double_run(folder, "", {.pipeline = 2, .data = 2});
    spec.pipeline.schedule = schedule;
    spec.sharding = sharding;
    spec.num_steps = 2;
    std::vector<std::string> notes(4);
    run_in_process(4, [&](Communicator& world) {
      Collect collect;
      train(spec, world, {}, collect, [] { return false; });
      notes[static_cast<size_t>(world.rank())] = collect.notes;
    });
    for (size_t rank = 1; rank < 4; ++rank) EXPECT_EQ(notes[rank], "");
    return notes[0];
  };
  const std::string said = "pipeline.schedule ZERO_BUBBLE, planned again by the times of its blocks: ";
  const std::string notes = notes_of(PipelineSchedule::kZeroBubble, RunSpec::Sharding::kOptimizer);
  EXPECT_NE(notes.find(said), std::string::npos) << notes;
  EXPECT_EQ(notes.find(said), notes.rfind(said)) << "once: " << notes;
  for (const auto& [schedule, sharding] : {std::pair{PipelineSchedule::kOneForwardOneBackward, RunSpec::Sharding::kNone},
                                           {PipelineSchedule::kZeroBubble, RunSpec::Sharding::kGradients}}) {
    EXPECT_EQ(notes_of(schedule, sharding).find("planned again"), std::string::npos);
  }
}

TEST(PipelineRun, EveryMeshTakesTheStepsOfOneRank) {
  const Folder folder;
  for (const bool tied : {false, true}) {
    const auto with = [&](MeshShape mesh) {
      RunSpec spec = double_run(folder, tied ? "tied" : "untied", mesh);
      std::filesystem::remove_all(spec.output_directory);
      if (tied) spec.model.tie_embeddings = ModelSpec::Tie::kYes;
      spec.global_batch_sequences = 8;
      spec.evaluation.data = spec.data;
      spec.evaluation.interval_steps = kSteps;
      return spec;
    };
    const Outcome one = run_on_mesh(with({}));
    ASSERT_EQ(one.evaluations.size(), 1u);
    for (const MeshShape& mesh :
         {MeshShape{.pipeline = 2, .data = 2}, MeshShape{.pipeline = 2, .context = 2}, MeshShape{.pipeline = 2, .tensor = 2},
          MeshShape{.pipeline = 2, .data = 2, .context = 2, .tensor = 2}, MeshShape{.pipeline = 4, .context = 2, .tensor = 2},
          MeshShape{.pipeline = 3, .data = 4}}) {
      SCOPED_TRACE(mesh.to_string() + (tied ? ", tied" : ""));
      expect_near(run_on_mesh(with(mesh)), one);
      for (const auto sharding : {RunSpec::Sharding::kOptimizer, RunSpec::Sharding::kWeights}) {
        RunSpec sharing = with(mesh);
        sharing.sharding = sharding;
        sharing.pipeline.schedule = PipelineSchedule::kZeroBubble;
        expect_near(run_on_mesh(sharing), one);
      }
    }
  }
}

// Chunks of sequences of 41 tokens differ in length; documents end inside them and between them, and packed or not, later chunks
// see earlier ones.
TEST(PipelineRun, ChunksOfSequencesTakeTheStepsOfOneRank) {
  const Folder folder;
  for (const Packing packing : {Packing::kDocuments, Packing::kStream}) {
    const auto with = [&](const std::string& output, const Way& way, int sequence_chunks) {
      RunSpec spec = double_run(folder, fmt::format("{}_{}", output, static_cast<int>(packing)), {.pipeline = way.stages});
      spec.data.packing = packing;
      spec.model.tie_embeddings = packing == Packing::kStream ? ModelSpec::Tie::kYes : ModelSpec::Tie::kNo;
      spec.micro_batch_sequences = 2;  // chunks of two sequences at once
      spec.pipeline = {.schedule = way.schedule, .chunks_per_stage = way.chunks, .sequence_chunks = sequence_chunks};
      return spec;
    };
    const Outcome one = run_on_mesh(with("one", {PipelineSchedule::kOneForwardOneBackward, 1, 1}, 1));
    for (const int chunks : {2, 3, 41}) {
      std::map<std::pair<int, int>, Outcome> by_placement;
      for (const Way& way : {Way{PipelineSchedule::kGPipe, 2, 1}, Way{PipelineSchedule::kOneForwardOneBackward, 2, 1},
                             Way{PipelineSchedule::kZeroBubble, 2, 1}, Way{PipelineSchedule::kOneForwardOneBackward, 4, 1},
                             Way{PipelineSchedule::kGPipe, 4, 1}, Way{PipelineSchedule::kOneForwardOneBackward, 1, 1},
                             Way{PipelineSchedule::kInterleaved, 2, 2}, Way{PipelineSchedule::kGPipe, 2, 2}}) {
        if (chunks == 41 && way.stages != 2) continue;
        const std::string name = fmt::format("{}_{}_{}_{}", longspan::name(way.schedule), way.stages, way.chunks, chunks);
        SCOPED_TRACE(name);
        const Outcome got = run_on_mesh(with(name, way, chunks));
        expect_near(got, one);
        const auto [first, is_new] = by_placement.try_emplace({way.stages, way.chunks}, got);
        if (is_new) continue;
        EXPECT_EQ(got.losses, first->second.losses) << "to the last bit";
        EXPECT_EQ(got.weights, first->second.weights) << "to the last bit";
      }
    }
  }
}

// A run on two stages goes on, on any number of them, as if it had never stopped: to the last bit where the sums keep their
// order.
TEST(PipelineRun, CheckpointsGoFromMeshToMesh) {
  const Folder folder;
  for (const bool tied : {false, true}) {
    const auto with = [&](const std::string& output, MeshShape mesh) {
      RunSpec spec = double_run(folder, output + (tied ? "_tied" : ""), mesh);
      if (tied) spec.model.tie_embeddings = ModelSpec::Tie::kYes;
      spec.optimizer.gradient_clip = 0;  // the norm is summed in another order
      return spec;
    };
    const Outcome whole = run_on_mesh(with("whole", {.pipeline = 2}));
    const MeshShape meshes[] = {{}, {.pipeline = 2}, {.pipeline = 4}, {.data = 2, .tensor = 2}, {.pipeline = 7}};
    for (size_t i = 0; i < std::size(meshes); ++i) {
      for (const bool from_two : {true, false}) {
        const MeshShape two = {.pipeline = 2}, first = from_two ? two : meshes[i], second = from_two ? meshes[i] : two;
        SCOPED_TRACE(first.to_string() + " to " + second.to_string());
        RunSpec spec = with(fmt::format("run_{}_{}", i, from_two), first);
        std::vector<double> losses = run_on_mesh(spec, 2).losses;
        ASSERT_EQ(losses.size(), 2u);
        spec.mesh = second;
        const Outcome rest = run_on_mesh(spec);
        losses.insert(losses.end(), rest.losses.begin(), rest.losses.end());
        expect_near(losses, whole.losses, "losses");
        expect_near(rest.weights, whole.weights, "weights");
        const bool same_sums = meshes[i].pipeline > 1 || (!tied && meshes[i].num_ranks() == 1);
        if (same_sums) {
          EXPECT_EQ(rest.weights, whole.weights) << "to the last bit";
        }
      }
    }
  }
}

// In fp32, where replicas that share state sum each element in an order that depends on where it lies in the buffers of a
// stage; a table of 251 x 32 whose pieces lie elsewhere on the last.
TEST(PipelineRun, BothCopiesOfATiedTableStayTheSameToTheLastBit) {
  struct Table final : TrainObserver {
    void on_model(Decoder& d) override { decoder = &d; }
    void on_step(const StepReport&) override {
      for (const ParameterSet::Part& part : decoder->parameters().parts()) {
        if (part.parameter != decoder->half_of_tied_table()) continue;
        begin = part.begin;
        values.assign(part.master.data<float>(), part.master.data<float>() + part.master.num_elements());
      }
    }
    const Decoder* decoder = nullptr;
    int64_t begin = 0;
    std::vector<float> values;
  };
  using Sharding = RunSpec::Sharding;
  const Folder folder;
  for (const auto sharding : {Sharding::kNone, Sharding::kOptimizer, Sharding::kGradients, Sharding::kWeights}) {
    for (const int64_t bucket_elements : {int64_t{1}, int64_t{1} << 22}) {
      SCOPED_TRACE(fmt::format("state {}, buckets of {}", static_cast<int>(sharding), bucket_elements));
      RunSpec spec = double_run(folder, "", {.pipeline = 3, .data = 4});
      spec.compute_dtype = DType::kFloat32;
      spec.model.tie_embeddings = ModelSpec::Tie::kYes;
      spec.model.vocabulary_size = 251;
      spec.sharding = sharding;
      spec.bucket_elements = bucket_elements;
      std::vector<Table> tables(12);
      run_in_process(12, [&](Communicator& world) {
        train(spec, world, {}, tables[static_cast<size_t>(world.rank())], [] { return false; });
      });
      std::vector<float> whole(251 * 32);  // by the ranks of the first stage
      for (size_t rank = 0; rank < 4; ++rank) std::ranges::copy(tables[rank].values, whole.begin() + tables[rank].begin);
      EXPECT_EQ(std::count(whole.begin(), whole.end(), 0.0f), 0);
      size_t kept = 0;
      for (const size_t rank : {0, 1, 2, 3, 8, 9, 10, 11}) {
        const std::vector<float>& values = tables[rank].values;
        const auto first = whole.begin() + tables[rank].begin;
        EXPECT_EQ(values, std::vector<float>(first, first + static_cast<int64_t>(values.size()))) << "rank " << rank;
        kept += values.size();
      }
      EXPECT_EQ(kept, (sharding == Sharding::kNone ? 8 : 2) * whole.size());
      for (size_t rank = 4; rank < 8; ++rank) EXPECT_TRUE(tables[rank].values.empty()) << "the stage between has none";
    }
  }
}

// Once over the replicas, as all else, and once between the two stages: of what a rank keeps the sums of.
TEST(PipelineRun, TheTiedTableMovesTheBytesOfItsFormula) {
  const Folder folder;
  using Sharding = RunSpec::Sharding;
  const auto sent_in_a_step = [&](RunSpec spec) {
    std::map<std::string, double> sent[2];
    for (const int64_t steps : {1, 2}) {
      spec.num_steps = steps;
      run_in_process(spec.mesh.num_ranks(), [&](Communicator& plain) {
        const auto log = std::make_shared<CommLog>();
        const auto world = make_recording_communicator(plain, log);
        TrainObserver silent;
        train(spec, *world, {}, silent, [] { return false; });
        if (plain.rank() > 0) return;
        for (const CommRecord& record : log->records()) {
          EXPECT_FALSE(record.kind == CommRecord::Kind::kAllReduce && record.what == "table");
          if (record.kind != CommRecord::Kind::kSendRecvPosted) continue;
          sent[steps - 1][record.what] += static_cast<double>(record.bytes_sent);
        }
      });
    }
    for (auto& [group, bytes] : sent[1]) bytes -= sent[0][group];
    return sent[1];
  };
  for (const MeshShape& mesh : {MeshShape{.pipeline = 2}, MeshShape{.pipeline = 3, .data = 2, .context = 2},
                                MeshShape{.pipeline = 2, .data = 2, .tensor = 2}}) {
    for (const auto sharding : {Sharding::kNone, Sharding::kOptimizer, Sharding::kGradients, Sharding::kWeights}) {
      SCOPED_TRACE(fmt::format("{}, state {}", mesh.to_string(), static_cast<int>(sharding)));
      RunSpec spec = double_run(folder, "", mesh);
      spec.model.tie_embeddings = ModelSpec::Tie::kYes;
      spec.sharding = sharding;
      spec.bucket_elements = 1;  // the table begins the first one, so that rank 0 keeps an even share
      const double replicas = mesh.data * mesh.context, table = 256.0 * 32 / mesh.tensor * sizeof(double);
      const auto sent = sent_in_a_step(spec);
      EXPECT_DOUBLE_EQ(sent.at("table"), sharding == Sharding::kNone ? table : table / replicas);
      const auto planned = traffic_of(spec, place_model(spec).blocks_of(0), 0);
      EXPECT_EQ(planned.back().group, "table");
      EXPECT_DOUBLE_EQ(planned.back().bytes, sent.at("table"));
    }
  }
}

// Each rank sends the activations of its microbatches ahead and gradients back, whatever it computes meanwhile.
TEST(PipelineRun, MovesTheBytesOfItsMessages) {
  const Folder folder;
  const auto bytes = [&](int64_t steps, int64_t sequences) {
    RunSpec spec = double_run(folder, "", {.pipeline = 2});
    spec.num_steps = steps;
    spec.global_batch_sequences = sequences;
    return bytes_sent_by_ranks(spec);
  };
  const auto few = bytes(1, 2), more = bytes(1, 6);
  const size_t message = 41 * 32 * sizeof(double);
  for (size_t rank = 0; rank < 2; ++rank) EXPECT_EQ(more[rank] - few[rank], 4 * message) << "rank " << rank;
}

TEST(PipelineRun, HoldsItsBlocksAlone) {
  const Folder folder;
  const auto weights = [&](MeshShape mesh) {
    RunSpec spec = double_run(folder, "", mesh);
    spec.num_steps = 1;
    return bytes_of_ranks(spec, MemoryTag::kWeights);
  };
  const int64_t all = weights({}).front();
  for (const int stages : {2, 4, 7}) {
    int64_t sum = 0;
    for (const int64_t held : weights({.pipeline = stages})) {
      EXPECT_LT(held, all);
      sum += held;
    }
    EXPECT_NEAR(static_cast<double>(sum), static_cast<double>(all), 0.01 * static_cast<double>(all));
  }
}

TEST(PipelinePlan, BalancesTheHeadAgainstLayers) {
  RunSpec spec;
  spec.model.num_layers = 8;
  spec.mesh.pipeline = 4;
  spec.model.vocabulary_size = 256;
  const auto layers_of_last = [&] { return static_cast<int>(place_model(spec).blocks_of(3).size()) - 1; };
  EXPECT_EQ(layers_of_last(), 2) << "a small head costs next to nothing";
  spec.model.vocabulary_size = 128000;
  EXPECT_EQ(layers_of_last(), 0) << "a large one is as dear as several layers";
  double total = 0;
  for (const BlockFlop& block : block_flop(spec.model, 100, 5050)) total += block.total();
  EXPECT_NEAR(total, training_flop(spec.model, 100, 5050), 1e-12 * total);
}

std::string refusal(const RunSpec& spec) {
  std::string text;
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    TrainObserver silent;
    try {
      train(spec, world, {}, silent, [] { return false; });
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfiguration);
      if (world.rank() == 0) text = error.what();
    }
  });
  return text;
}

TEST(PipelineRun, RefusesWhatCannotWork) {
  const Folder folder;
  RunSpec spec = double_run(folder, "", {.pipeline = 8});
  const auto expect_refusal = [&](const char* text) { EXPECT_NE(refusal(spec).find(text), std::string::npos) << refusal(spec); };
  expect_refusal(
      "mesh.pipeline: is 8, more than the 7 blocks of this model (5 layers, the embedding and the head); the nearest that works "
      "is 7");
  spec.mesh.pipeline = 2;
  spec.pipeline = {.schedule = PipelineSchedule::kInterleaved, .chunks_per_stage = 4};
  expect_refusal("pipeline.chunks_per_stage: is 4, and 4 chunks on each of 2 stages are more than the 7 blocks");
  spec.pipeline.chunks_per_stage = 2;
  spec.global_batch_sequences = 3;
  expect_refusal("pipeline.schedule: interleaved 1F1B over 2 ranks takes a multiple of 2 microbatches, not 3; use 4");
  spec.pipeline.schedule = PipelineSchedule::kZeroBubble;
  expect_refusal("pipeline.schedule: the zero-bubble schedule has 1 chunk a rank, not 2; use 1");
  spec.pipeline = {.schedule = PipelineSchedule::kOneForwardOneBackward, .sequence_chunks = 42};
  expect_refusal("pipeline.sequence_chunks: is 42, more than the 41 tokens of a sequence; use 41 or fewer");
  spec.mesh.context = 2;
  spec.pipeline.sequence_chunks = 2;
  expect_refusal("pipeline.sequence_chunks: is 2, but mesh.context is 2: a sequence is cut for stages or for ranks");
}

}  // namespace
}  // namespace longspan::test
