// A rank's end of an NCCL communicator that is slow, fails or never answers, played on a clock that only rests move on.
#include "parallel/comm/nccl/guarded_link.h"

#include "tests/parallel/nccl_fake.h"

namespace longspan::test {
namespace {

using nccl::GuardedLink;
using nccl::Link;
using nccl::Operation;
using std::chrono::milliseconds;

constexpr milliseconds kTimeout{50};
constexpr int kTimeoutRests = 51;  // the first rest after which more than the timeout has passed

class GuardedLinkTest : public testing::Test {
 protected:
  std::unique_ptr<GuardedLink> connect() {
    return std::make_unique<GuardedLink>(std::make_unique<ScriptedLink>(script), "group 'ring', rank 0 of 4", kTimeout, clock);
  }

  // Sends a tensor that nobody else holds.
  std::shared_ptr<Operation> post(GuardedLink& link, const std::string& call = "send_recv") {
    auto storage = std::make_shared<std::vector<float>>(4);
    sent_ = storage;
    const Tensor tensor(std::shared_ptr<void>(storage, storage->data()), 16, {4}, DType::kFloat32);
    return link.start(*compute_, {.call = call, .peers = "rank 1 (to) or rank 3 (from)", .held = {tensor}},
                      [](Link& l) { return l.send_recv({}); });
  }
  bool is_held() const { return !sent_.expired(); }

  void expect_given_up(GuardedLink& link, const std::string& message, const std::vector<std::string>& parts) {
    for (const std::string& part : parts) EXPECT_TRUE(contains(message, part)) << message;
    EXPECT_TRUE(contains(message, "group 'ring', rank 0 of 4")) << message;
    EXPECT_TRUE(link.given_up());
    EXPECT_EQ(script.count("abort"), 1);
    const std::string later = message_of<CommError>([&] { post(link, "another call"); });
    EXPECT_TRUE(contains(later, "another call")) << later;
    EXPECT_TRUE(contains(later, "given up before: " + message)) << later;
  }

  Script script;
  std::shared_ptr<FakeClock> clock = std::make_shared<FakeClock>();

 private:
  std::shared_ptr<Stream> compute_ = Stream::make_inline();
  std::weak_ptr<const void> sent_;
};

TEST_F(GuardedLinkTest, WaitsUntilTheRanksHaveMet) {
  script.state = in_progress();
  clock->at_rest = [&](int n) {
    if (n == 20) script.state = {};
  };
  connect().reset();
  EXPECT_EQ(clock->num_rests(), 20);
  EXPECT_EQ(script.log, (std::vector<std::string>{"finalize", "destroyed"}));
}

TEST_F(GuardedLinkTest, RanksThatNeverMeetAreATimeout) {
  script.state = in_progress();
  const std::string message = message_of<CommError>([&] { connect(); });
  EXPECT_EQ(message, "connect in group 'ring', rank 0 of 4: no answer from some rank within 0.05 s");
  EXPECT_EQ(clock->num_rests(), kTimeoutRests);
  EXPECT_EQ(script.log, (std::vector<std::string>{"abort", "destroyed"}));
}

TEST_F(GuardedLinkTest, AnErrorWhileTheRanksMeetIsRaisedAtOnce) {
  script.state = in_progress();
  clock->at_rest = [&](int n) {
    if (n == 7) script.state = failed("invalid usage (Duplicate GPU detected)");
  };
  const std::string message = message_of<CommError>([&] { connect(); });
  EXPECT_TRUE(contains(message, "connect in group 'ring', rank 0 of 4: invalid usage (Duplicate GPU detected)")) << message;
  EXPECT_EQ(clock->num_rests(), 7);
  EXPECT_EQ(script.count("abort"), 1);
}

TEST_F(GuardedLinkTest, AnOperationIsDoneWhenTheDeviceHasReachedItsEnd) {
  const auto link = connect();
  script.end = in_progress();
  const auto operation = post(*link);
  EXPECT_EQ(script.log, (std::vector<std::string>{"follow", "send_recv", "mark"}));
  EXPECT_FALSE(link->test(*operation));
  EXPECT_TRUE(is_held());
  clock->at_rest = [&](int n) {
    if (n == 30) script.end = {};
  };
  link->wait(*operation);
  EXPECT_EQ(clock->num_rests(), 30);
  EXPECT_TRUE(operation->done());
  EXPECT_FALSE(is_held());
  link->wait(*operation);  // twice is allowed
  EXPECT_TRUE(link->test(*operation));
}

TEST_F(GuardedLinkTest, TheEndIsMarkedOnceNcclHasAddedTheOperation) {
  const auto link = connect();
  script.added = in_progress();
  const auto operation = post(*link);
  EXPECT_EQ(script.count("mark"), 0);
  EXPECT_FALSE(link->test(*operation));
  script.state = {};
  EXPECT_TRUE(link->test(*operation));
  EXPECT_EQ(script.count("mark"), 1);
}

TEST_F(GuardedLinkTest, TheNextOperationWaitsUntilNcclIsFree) {
  const auto link = connect();
  script.added = in_progress();
  script.end = in_progress();
  const auto first = post(*link, "first");
  clock->at_rest = [&](int n) {
    if (n == 9) script.state = {};
  };
  const auto second = post(*link, "second");
  EXPECT_EQ(clock->num_rests(), 9);
  EXPECT_EQ(script.log, (std::vector<std::string>{"follow", "send_recv", "mark", "follow", "send_recv"}));
  script.state = {};
  script.end = {};
  link->wait(*second);
  EXPECT_TRUE(first->done());
}

TEST_F(GuardedLinkTest, ANcclThatStaysBusyIsATimeoutOfTheNextCall) {
  const auto link = connect();
  script.added = in_progress();
  const auto first = post(*link, "first");
  const std::string message = message_of<CommError>([&] { post(*link, "second"); });
  EXPECT_EQ(clock->num_rests(), kTimeoutRests);
  expect_given_up(*link, message, {"second", "rank 1 (to) or rank 3 (from)", "within 0.05 s"});
}

TEST_F(GuardedLinkTest, APeerThatNeverAnswersIsATimeoutThatNamesCallGroupAndPeers) {
  const auto link = connect();
  script.end = in_progress();
  const auto operation = post(*link, "send_recv of 64 bytes");
  const std::string message = message_of<CommError>([&] { link->wait(*operation); });
  EXPECT_EQ(message, "send_recv of 64 bytes in group 'ring', rank 0 of 4: "
                     "no answer from rank 1 (to) or rank 3 (from) within 0.05 s");
  EXPECT_EQ(clock->num_rests(), kTimeoutRests);
  EXPECT_FALSE(is_held());
  expect_given_up(*link, message, {});
  EXPECT_THROW(link->wait(*operation), CommError);
}

TEST_F(GuardedLinkTest, ATimeoutTellsTheOldestOfSeveralOperations) {
  const auto link = connect();
  script.end = in_progress();
  const auto first = post(*link, "hop 1"), second = post(*link, "hop 2");
  const std::string message = message_of<CommError>([&] { link->wait(*second); });
  expect_given_up(*link, message, {"hop 2 in group", "the oldest of 2 operations under way is hop 1 with rank 1"});
}

TEST_F(GuardedLinkTest, OwnComputeIsNoDelayOfThePeers) {
  const auto link = connect();
  script.ready = script.end = in_progress();
  const auto operation = post(*link);
  clock->at_rest = [&](int n) {
    if (n == 400) script.ready = {};
    if (n == 440) script.end = {};
  };
  link->wait(*operation);
  EXPECT_EQ(clock->num_rests(), 440);
  script.ready = script.end = in_progress();
  const auto next = post(*link);
  clock->at_rest = [&](int n) {
    if (n == 500) script.ready = {};
  };
  EXPECT_THROW(link->wait(*next), CommError);
  EXPECT_GE(clock->num_rests(), 500 + static_cast<int>(kTimeout.count()));
  EXPECT_LE(clock->num_rests(), 500 + kTimeoutRests);
}

TEST_F(GuardedLinkTest, AnAsynchronousErrorEndsAWait) {
  const auto link = connect();
  script.end = in_progress();
  const auto operation = post(*link);
  clock->at_rest = [&](int n) {
    if (n == 3) script.state = failed("remote process exited");
  };
  const std::string message = message_of<CommError>([&] { link->wait(*operation); });
  EXPECT_EQ(clock->num_rests(), 3);
  expect_given_up(*link, message, {"send_recv", "remote process exited"});
}

TEST_F(GuardedLinkTest, AnErrorCountsEvenWhereTheEndIsReached) {
  const auto link = connect();
  script.end = in_progress();
  const auto operation = post(*link);
  script.end = {};
  script.state = failed("remote process exited");
  expect_given_up(*link, message_of<CommError>([&] { link->wait(*operation); }), {"remote process exited"});
}

TEST_F(GuardedLinkTest, ErrorsOfEachStepAreRaised) {
  struct Case {
    std::string words;
    std::function<void()> plant;
  };
  const Case cases[] = {{"refused to add", [&] { script.added = failed("refused to add"); }},
                        {"no event", [&] { script.mark_error = "no event"; }},
                        {"an illegal address before", [&] {
                           script.ready = failed("an illegal address before");
                           script.end = in_progress();
                         }},
                        {"an illegal address within", [&] { script.end = failed("an illegal address within"); }}};
  for (const Case& planted : cases) {
    script = {};
    const auto link = connect();
    planted.plant();
    const std::string message = message_of<CommError>([&] { link->wait(*post(*link, "all_reduce")); });
    script.mark_error.clear();
    expect_given_up(*link, message, {"all_reduce in group", planted.words});
  }
}

TEST_F(GuardedLinkTest, AnEndThatCannotBeMarkedLaterIsAnError) {
  const auto link = connect();
  script.added = in_progress();
  const auto operation = post(*link, "broadcast");
  script.state = {};
  script.mark_error = "no event";
  expect_given_up(*link, message_of<CommError>([&] { link->wait(*operation); }), {"broadcast in group", "no event"});
}

TEST_F(GuardedLinkTest, ProgressSeesEndsAndKeepsFailuresForTheWait) {
  const auto link = connect();
  const auto first = post(*link);
  EXPECT_FALSE(first->done());
  link->progress();
  EXPECT_TRUE(first->done());
  const auto second = post(*link);
  script.state = failed("remote process exited");
  link->progress();
  EXPECT_TRUE(link->given_up());
  link->progress();
  const std::string message = message_of<CommError>([&] { link->wait(*second); });
  EXPECT_TRUE(contains(message, "remote process exited")) << message;
  EXPECT_EQ(script.count("abort"), 1);
}

TEST_F(GuardedLinkTest, TensorsOfADroppedOperationAreHeldUntilItsEnd) {
  const auto link = connect();
  script.end = in_progress();
  post(*link).reset();
  EXPECT_TRUE(is_held());
  link->progress();
  EXPECT_TRUE(is_held());
  script.end = {};
  link->progress();
  EXPECT_FALSE(is_held());
}

TEST_F(GuardedLinkTest, ALinkWithSomethingUnderWayIsAborted) {
  auto link = connect();
  script.end = in_progress();
  const auto operation = post(*link);
  link.reset();
  EXPECT_EQ(script.count("abort"), 1);
  EXPECT_EQ(script.count("finalize"), 0);
  EXPECT_EQ(script.log.back(), "destroyed");
}

TEST_F(GuardedLinkTest, WhatEndedUnseenIsNoReasonToAbort) {
  auto link = connect();
  post(*link).reset();
  link.reset();
  EXPECT_EQ(script.count("finalize"), 1);
  EXPECT_EQ(script.count("abort"), 0);
}

TEST_F(GuardedLinkTest, AnExceptionThatUnwindsAbortsInsteadOfWaitingForThePeers) {
  EXPECT_THROW(
      {
        const auto link = connect();
        throw std::logic_error("the cause");
      },
      std::logic_error);
  EXPECT_EQ(script.log, (std::vector<std::string>{"abort", "destroyed"}));
}

TEST_F(GuardedLinkTest, ToFinalizeWaitsForThePeersButNotForEver) {
  script.finalized = in_progress();
  clock->at_rest = [&](int n) {
    if (n == 5) script.state = {};
  };
  connect().reset();
  EXPECT_EQ(clock->num_rests(), 5);
  EXPECT_EQ(script.log, (std::vector<std::string>{"finalize", "destroyed"}));
  script.log.clear();
  connect().reset();
  EXPECT_EQ(clock->num_rests(), 5 + kTimeoutRests);
  EXPECT_EQ(script.log, (std::vector<std::string>{"finalize", "abort", "destroyed"}));
  script = {};
  script.finalized = failed("cannot");
  connect().reset();
  EXPECT_EQ(script.log, (std::vector<std::string>{"finalize", "abort", "destroyed"}));
}

}  // namespace
}  // namespace longspan::test
