// Whole runs by every scheme of the context axis: the steps and the weights of one rank, whatever moves, and as many bytes as the
// scheme's formula says.
#include <gtest/gtest.h>

#include <map>

#include "attention/scheme_cost.h"
#include "model/decoder.h"
#include "tests/core/expect_error.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"
#include "tests/train/history.h"

namespace longspan::test {
namespace {

using namespace history;

constexpr ContextScheme kSchemes[] = {ContextScheme::kRing, ContextScheme::kAllToAll, ContextScheme::kAllGather,
                                      ContextScheme::kHybrid, ContextScheme::kDoubleRing};
constexpr LayoutType kLayouts[] = {LayoutType::kContiguous, LayoutType::kZigzag, LayoutType::kStriped};

struct Heads {
  int64_t num_heads, num_kv_heads;
};

RunSpec spec_of(const Folder& folder, const Heads& heads) {
  RunSpec spec = small_run(folder, "");
  spec.output_directory = "";
  spec.compute_dtype = DType::kFloat64;
  spec.model.vocabulary_size = 128;
  spec.model.hidden_size = 16;
  spec.model.num_heads = heads.num_heads;
  spec.model.num_kv_heads = heads.num_kv_heads;
  spec.model.head_dim = 4;
  spec.model.mlp_size = 24;
  spec.data.sequence_length = 53;  // divides by no number of ranks
  spec.global_batch_sequences = 4;
  spec.micro_batch_sequences = 2;
  spec.num_steps = 2;
  return spec;
}

// What the parameters are after the last step, put together from the ranks that hold them.
struct Outcome {
  std::vector<double> losses;
  std::map<std::string, std::vector<double>> weights;
};

class Collected final : public TrainObserver {
 public:
  Collected(const RunSpec& spec, Communicator& world) : spec_(spec), world_(world) {}
  void on_model(Decoder& decoder) override { decoder_ = &decoder; }
  void on_step(const StepReport& report) override {
    outcome_.losses.push_back(report.loss);
    if (report.step != spec_.num_steps) return;
    for (const auto& p : decoder_->parameters().all()) {
      const Context context = make_context(DType::kFloat64);
      const Tensor whole = context.zeros(p->box.whole, DType::kFloat64);
      copy_overlap(p->box, p->master.raw(), Box::all_of(p->box.whole), whole.raw(), sizeof(double));
      const Tensor count = context.zeros(p->box.whole, DType::kFloat64), ones = context.zeros(p->box.extent, DType::kFloat64);
      std::fill_n(ones.data<double>(), ones.num_elements(), 1.0);
      copy_overlap(p->box, ones.raw(), Box::all_of(p->box.whole), count.raw(), sizeof(double));
      world_.all_reduce(context.stream(), whole, ReduceOp::kSum);
      world_.all_reduce(context.stream(), count, ReduceOp::kSum);
      std::vector<double> values = test::values(whole);
      for (size_t i = 0; i < values.size(); ++i) values[i] /= count.data<double>()[i];
      outcome_.weights[p->name] = std::move(values);
    }
  }
  Outcome outcome_;

 private:
  const RunSpec& spec_;
  Communicator& world_;
  Decoder* decoder_ = nullptr;
};

Outcome outcome_of(const RunSpec& spec) {
  Outcome outcome;
  run_in_process(spec.mesh.num_ranks(), [&](Communicator& world) {
    Collected collected(spec, world);
    train(spec, world, {.num_threads = 1}, collected, [] { return false; });
    if (world.rank() == 0) outcome = std::move(collected.outcome_);
  });
  return outcome;
}

void expect_same(const Outcome& got, const Outcome& want) {
  ASSERT_EQ(got.losses.size(), want.losses.size());
  for (size_t i = 0; i < got.losses.size(); ++i) EXPECT_NEAR(got.losses[i], want.losses[i], 1e-11 * want.losses[i]);
  ASSERT_EQ(got.weights.size(), want.weights.size());
  for (const auto& [name, weights] : want.weights) EXPECT_LT(relative_error(got.weights.at(name), weights), 1e-11) << name;
}

// Both kinds of packing, and one rank for all meshes.
class Runs {
 public:
  Runs(const Folder& folder, const Heads& heads) : spec_(spec_of(folder, heads)) {
    for (const Packing packing : {Packing::kDocuments, Packing::kStream}) {
      RunSpec one = spec_;
      one.data.packing = packing;
      one_[packing] = outcome_of(one);
    }
  }
  void expect_steps_of_one_rank(const MeshShape& mesh, ContextScheme scheme, LayoutType layout) const {
    for (const auto& [packing, one] : one_) {
      RunSpec spec = spec_;
      spec.mesh = mesh;
      spec.context.scheme = scheme;
      spec.layout = layout;
      spec.data.packing = packing;
      SCOPED_TRACE(fmt::format("{} {} {} packing {}", mesh.to_string(), describe(scheme, group_ranks(spec)), name(layout),
                               static_cast<int>(packing)));
      expect_same(outcome_of(spec), one);
    }
  }

 private:
  RunSpec spec_;
  std::map<Packing, Outcome> one_;  // of one rank
};

class SchemeRun : public testing::TestWithParam<ContextScheme> {};

TEST_P(SchemeRun, TakesTheStepsOfOneRank) {
  const Folder folder;
  const Runs grouped(folder, {9, 3}), alone(folder, {8, 1});  // 9 heads divide over no number of these ranks but 3
  for (const LayoutType layout : kLayouts) {
    for (const int ranks : {2, 3, 4, 8}) grouped.expect_steps_of_one_rank({.context = ranks}, GetParam(), layout);
    alone.expect_steps_of_one_rank({.context = 4}, GetParam(), layout);
  }
}

// Ranks of a tensor axis have 4 and 5 of the query heads, and both of them the key head in the middle.
TEST_P(SchemeRun, TakesTheStepsOfOneRankWithOtherAxes) {
  const Folder folder;
  const Runs grouped(folder, {9, 3}), alone(folder, {8, 1});
  for (const MeshShape& mesh : {MeshShape{.context = 4, .tensor = 2}, MeshShape{.data = 2, .context = 3},
                                MeshShape{.data = 2, .context = 2, .tensor = 2}}) {
    grouped.expect_steps_of_one_rank(mesh, GetParam(), LayoutType::kZigzag);
    alone.expect_steps_of_one_rank(mesh, GetParam(), LayoutType::kStriped);
  }
}

// Of each layer and microbatch, what the model of costs says, which the tests of attention hold to the formulas.
TEST_P(SchemeRun, MovesTheBytesOfItsFormula) {
  const Folder folder;
  for (const MeshShape& mesh : {MeshShape{.context = 4}, MeshShape{.context = 4, .tensor = 2}}) {
    RunSpec spec = spec_of(folder, {8, 4});
    spec.mesh = mesh;
    spec.context.scheme = GetParam();
    spec.data.sequence_length = 64;
    spec.num_steps = 1;
    const AttentionShape shape = {.num_tokens = 2 * 64, .num_heads = 8 / mesh.tensor, .num_kv_heads = 4 / mesh.tensor,
                                  .head_dim = 4, .dtype = DType::kFloat64, .num_ranks = 4, .ranks_per_host = 4};
    const SchemeCost cost = cost_of(GetParam(), group_ranks(spec), shape, {});
    const int64_t passes = spec.model.num_layers * (spec.global_batch_sequences / spec.micro_batch_sequences);
    run_in_process(mesh.num_ranks(), [&](Communicator& inner) {
      const auto log = std::make_shared<CommLog>();
      const auto world = make_recording_communicator(inner, log);
      TrainObserver silent;
      train(spec, *world, {.num_threads = 1}, silent, [] { return false; });
      size_t received = 0;
      for (const CommRecord& record : log->records()) {
        const bool posted = record.kind == CommRecord::Kind::kSendRecvPosted;
        if (posted && record.what.starts_with("context")) received += record.bytes_received;
      }
      EXPECT_EQ(received, static_cast<size_t>(passes * (cost.forward_bytes + cost.backward_bytes)))
          << describe(GetParam(), cost.inner) << " on " << mesh.to_string() << ", rank " << inner.rank();
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, SchemeRun, testing::ValuesIn(kSchemes),
                         [](const auto& i) { return std::string(name(i.param)); });

// One scheme's checkpoint is any other's.
TEST(SchemesRun, GoOnFromEachOther) {
  const Folder folder;
  RunSpec spec = spec_of(folder, {9, 3});
  spec.num_steps = 5;
  spec.optimizer.schedule = ScheduleType::kConstant;
  const std::vector<double> whole = outcome_of(spec).losses;
  spec.output_directory = folder / "run";
  spec.mesh.context = 4;
  std::vector<double> losses;
  for (const ContextScheme scheme : kSchemes) {
    spec.context.scheme = scheme;
    spec.num_steps = static_cast<int64_t>(losses.size()) + 1;
    const std::vector<double> next = outcome_of(spec).losses;
    ASSERT_EQ(next.size(), 1u);
    losses.push_back(next[0]);
  }
  ASSERT_EQ(losses.size(), whole.size());
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(losses[i], whole[i], 1e-11 * whole[i]) << "step " << i + 1;
}

TEST(SchemesRun, EvaluateAsOneRankDoes) {
  const Folder folder;
  const auto evaluations = [&](int context, ContextScheme scheme) {
    RunSpec spec = spec_of(folder, {9, 3});
    spec.context.scheme = scheme;
    spec.evaluation.data = spec.data;
    spec.evaluation.interval_steps = 2;
    return run(spec, 1, context).evaluations;
  };
  const std::vector<double> one = evaluations(1, ContextScheme::kRing);
  ASSERT_EQ(one.size(), 1u);
  for (const ContextScheme scheme : kSchemes) EXPECT_NEAR(evaluations(4, scheme).at(0), one[0], 1e-11 * one[0]) << name(scheme);
}

TEST(SchemesRun, ADegreeThatCannotWorkIsRefusedWithTheNearestThatCan) {
  const Folder folder;
  RunSpec spec = spec_of(folder, {4, 2});
  spec.mesh = {.context = 3, .tensor = 2};
  spec.context.scheme = ContextScheme::kAllToAll;
  expect_error(ErrorKind::kConfiguration, {"3 ranks cannot exchange 2 heads", "the nearest degree that works is 2"},
               [&] { outcome_of(spec); });
  spec.mesh = {.context = 6};
  spec.context = {.scheme = ContextScheme::kHybrid, .group_ranks = 6};
  expect_error(ErrorKind::kConfiguration, {"6 ranks cannot exchange 4 heads", "the nearest degree that works is 3"},
               [&] { outcome_of(spec); });
  spec.context = {.scheme = ContextScheme::kDoubleRing, .group_ranks = 4};
  expect_error(ErrorKind::kConfiguration, {"cannot have groups of 4", "is 3"}, [&] { outcome_of(spec); });
}

}  // namespace
}  // namespace longspan::test
