// context.scheme: AUTO: that all ranks take one choice, and that a run which goes on keeps what it has; groups that nobody named.
#include "launcher/context_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "launcher/config_file.h"
#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "train/checkpoint.h"

namespace longspan {
namespace {

config::RunConfig config_of(const std::string& text) {
  return parse_config("model { num_heads: 4 } mesh { tensor: 1 context: 4 } " + text, "run", {}).config;
}

void save(const test::Folder& folder, int64_t step, const std::string& configuration) {
  save_checkpoint(folder.path(), {.step = step, .model = "a model", .configuration = configuration}, {}, 0);
}

TEST(ContextChoice, IsReadFromTheCheckpointThatIsContinued) {
  const test::Folder folder;
  const auto continued = [&](const std::string& text, Command command = Command::kTrain) {
    config::RunConfig config = config_of("checkpoint { resume: LATEST } " + text);
    config.set_output_directory(folder.path());
    const auto found = continued_context(config, command);
    return found ? config::Context::Scheme_Name(found->scheme()) : "none";
  };
  EXPECT_EQ(continued("context { scheme: AUTO }"), "none");
  save(folder, 2, "mesh { context: 4 } context { scheme: HYBRID group_ranks: 2 }");
  EXPECT_EQ(continued("context { scheme: AUTO }"), "HYBRID");
  EXPECT_EQ(continued("context { scheme: RING }"), "none") << "is not asked for";
  EXPECT_EQ(continued("context { scheme: AUTO }", Command::kVerify), "none");
  EXPECT_EQ(continued("context { scheme: AUTO }", Command::kEvaluate), "HYBRID");
  save(folder, 4, "mesh { context: 2 } context { scheme: ALL_TO_ALL }");
  EXPECT_EQ(continued("context { scheme: AUTO }"), "none") << "that was over other ranks";
}

struct Settled {
  std::string context, note;
};

// What each of three ranks settles on; those in `given` beyond the first have its last.
std::vector<Settled> settle(const std::vector<std::string>& given, const std::optional<config::Context>& continued,
                            std::atomic<int>& choices, int per_host = 4) {
  std::vector<Settled> settled(3);
  run_in_process(3, [&](Communicator& world) {
    const auto rank = static_cast<size_t>(world.rank());
    config::RunConfig config = config_of(given[std::min(rank, given.size() - 1)]);
    const auto choose = [&] {
      ++choices;
      return ContextChoice{.scheme = ContextScheme::kDoubleRing, .group_ranks = 2, .reason = "it is fast"};
    };
    settled[rank].note = settle_context(config, per_host, world.rank() == 0 ? continued : std::nullopt, world, choose);
    settled[rank].context = config.context().ShortDebugString();
  });
  return settled;
}

TEST(ContextChoice, IsThatOfTheMeasurementOrOfTheCheckpoint) {
  std::atomic<int> choices = 0;
  for (const Settled& rank : settle({"context { scheme: AUTO }"}, {}, choices)) {
    EXPECT_EQ(rank.context, "scheme: DOUBLE_RING group_ranks: 2");
    EXPECT_EQ(rank.note, "context.scheme: AUTO is DOUBLE_RING in groups of 2: it is fast");
  }
  EXPECT_EQ(choices, 3) << "every rank measures";
  config::Context stored;
  stored.set_scheme(config::Context::ALL_GATHER);
  for (const Settled& rank : settle({"context { scheme: AUTO }"}, stored, choices)) {
    EXPECT_EQ(rank.context, "scheme: ALL_GATHER");
    EXPECT_EQ(rank.note, "context.scheme: AUTO is ALL_GATHER, that of the checkpoint");
  }
  EXPECT_EQ(choices, 3) << "nothing is measured";
}

// They are told so where training compares their configurations, and do not wait for each other here.
TEST(ContextChoice, RanksThatWereToldDifferentThingsMeasureNothing) {
  std::atomic<int> choices = 0;
  const auto settled = settle({"context { scheme: RING }", "context { scheme: AUTO }"}, {}, choices);
  EXPECT_EQ(settled[0].context, "scheme: RING");
  EXPECT_EQ(settled[1].context, "scheme: AUTO");
  EXPECT_EQ(choices, 0);
}

TEST(ContextChoice, VerifyProvesAllThatAutoMayTake) {
  const auto proven = [](const std::string& given, const std::string& settled, int64_t heads = 4) {
    config::RunConfig config = config_of(settled);
    config.mutable_model()->set_num_heads(heads);
    std::vector<std::string> texts;
    for (const config::Context& context : contexts_to_verify(config_of(given), config)) {
      texts.push_back(context.ShortDebugString());
    }
    if (!texts.empty()) std::sort(texts.begin() + 1, texts.end());
    return texts;
  };
  const std::string gather = "context { scheme: ALL_GATHER }";
  const std::vector<std::string> all = {"scheme: ALL_GATHER", "scheme: ALL_TO_ALL", "scheme: DOUBLE_RING group_ranks: 2",
                                        "scheme: HYBRID group_ranks: 2", "scheme: RING"};
  EXPECT_EQ(proven("context { scheme: AUTO }", gather), all) << "what was chosen comes first";
  EXPECT_EQ(proven(gather, gather), (std::vector<std::string>{"scheme: ALL_GATHER"}));
  const std::vector<std::string> possible = {"scheme: ALL_GATHER", "scheme: DOUBLE_RING group_ranks: 2",
                                             "scheme: HYBRID group_ranks: 2", "scheme: RING"};
  EXPECT_EQ(proven("context { scheme: AUTO }", gather, 2), possible) << "four ranks cannot exchange two heads";
}

TEST(ContextChoice, GroupsThatNobodyNamedAreThoseOfAHost) {
  std::atomic<int> choices = 0;
  EXPECT_EQ(settle({"context { scheme: HYBRID }"}, {}, choices)[1].context, "scheme: HYBRID group_ranks: 2");
  EXPECT_EQ(settle({"context { scheme: HYBRID group_ranks: 4 }"}, {}, choices)[1].context, "scheme: HYBRID group_ranks: 4");
  EXPECT_EQ(settle({"context { scheme: RING }"}, {}, choices)[1].context, "scheme: RING");

  EXPECT_EQ(group_of_host(ContextScheme::kHybrid, 8, 8, 64), 4) << "not all ranks, so that there is a ring";
  EXPECT_EQ(group_of_host(ContextScheme::kHybrid, 8, 2, 64), 2);
  EXPECT_EQ(group_of_host(ContextScheme::kHybrid, 16, 8, 4), 4) << "no more than heads";
  EXPECT_EQ(group_of_host(ContextScheme::kDoubleRing, 16, 8, 4), 8);
  EXPECT_EQ(group_of_host(ContextScheme::kDoubleRing, 12, 8, 4), 4) << "within a host";
  EXPECT_EQ(group_of_host(ContextScheme::kHybrid, 2, 2, 64), 2) << "of a prime number, all that are on the host";
  EXPECT_EQ(group_of_host(ContextScheme::kHybrid, 2, 1, 64), 1);
  EXPECT_EQ(group_of_host(ContextScheme::kHybrid, 1, 1, 64), 1);
}

// Four ranks, so that groups of 2 have something to do inside and across.
TEST(ContextChoice, GroupsThatDoNothingAreSaid) {
  std::atomic<int> choices = 0;
  const auto note = [&](const std::string& context, int per_host = 4) {
    return settle({"context { " + context + " }"}, {}, choices, per_host)[0].note;
  };
  EXPECT_EQ(note("scheme: HYBRID group_ranks: 2"), "");
  EXPECT_EQ(note("scheme: HYBRID"), "");
  EXPECT_EQ(note("scheme: RING", 1), "");
  EXPECT_EQ(
      note("scheme: HYBRID group_ranks: 4"),
      "context.scheme HYBRID in groups of 4: over 4 ranks that is ALL_TO_ALL; context.group_ranks 2 has something to do inside a "
      "host and across");
  EXPECT_EQ(note("scheme: DOUBLE_RING group_ranks: 1", 1),
            "context.scheme DOUBLE_RING in groups of 1: over 4 ranks that is RING");
  EXPECT_EQ(
      note("scheme: DOUBLE_RING group_ranks: 2", 1),
      "context.scheme DOUBLE_RING in groups of 2: groups lie on several hosts, which have 1 neighbours of the context axis each");
  EXPECT_NE(group_note(ContextScheme::kDoubleRing, 8, 16, 4, 64).find("have 4 neighbours of the context axis each; "
                                                                       "context.group_ranks 4 has"), std::string::npos);
  EXPECT_EQ(group_note(ContextScheme::kHybrid, 1, 1, 1, 64), "") << "one rank has no groups";
}

TEST(ContextChoice, TheNearestGroupsHaveHeadsToExchange) {
  EXPECT_NE(scheme_problem(ContextScheme::kDoubleRing, 7, 24, 4).find("the nearest that divides them is 6"), std::string::npos);
  EXPECT_NE(
      scheme_problem(ContextScheme::kHybrid, 7, 24, 4).find("the nearest that divides them, with 4 heads to exchange, is 4"),
      std::string::npos);
  EXPECT_NE(scheme_problem(ContextScheme::kHybrid, 12, 24, 5).find("the nearest degree that works is 4"), std::string::npos);
  for (int inner = 0; inner <= 24; ++inner) {
    const std::string problem = scheme_problem(ContextScheme::kHybrid, inner, 24, 5);
    if (problem.empty()) continue;
    const int nearest = std::stoi(problem.substr(problem.rfind(' ') + 1));
    EXPECT_EQ(scheme_problem(ContextScheme::kHybrid, nearest, 24, 5), "") << inner;
  }
}

}  // namespace
}  // namespace longspan
