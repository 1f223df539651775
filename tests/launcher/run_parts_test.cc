// The small parts of the launcher: threads of a host, progress, exit status.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <new>
#include <sstream>
#include <thread>

#include "launcher/control_groups.h"
#include "launcher/exit_status.h"
#include "launcher/folder_lock.h"
#include "launcher/host_memory.h"
#include "launcher/host_threads.h"
#include "launcher/progress.h"
#include "launcher/run_observer.h"
#include "launcher/start_watch.h"
#include "launcher/stop_signal.h"
#include "launcher/terminal.h"

namespace longspan {
namespace {

CpuMask cpus(std::initializer_list<int> list) {
  CpuMask mask;
  for (const int cpu : list) mask.set(static_cast<size_t>(cpu));
  return mask;
}

std::vector<int> shares(const std::vector<CpuMask>& masks, int quota = 0) {
  std::vector<int> result;
  for (size_t rank = 0; rank < masks.size(); ++rank) result.push_back(threads_of_rank(masks, static_cast<int>(rank), quota));
  return result;
}

TEST(HostThreads, ShareAMaskEvenlyWithTheRemainderFirst) {
  const CpuMask eight = cpus({0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(shares({eight}), (std::vector{8}));
  EXPECT_EQ(shares({eight, eight, eight}), (std::vector{3, 3, 2}));
  EXPECT_EQ(shares(std::vector<CpuMask>(10, eight)), (std::vector<int>(10, 1)));
}

TEST(HostThreads, KeepRanksBoundToTheirOwnCores) {
  EXPECT_EQ(shares({cpus({0}), cpus({1})}), (std::vector{1, 1}));
  EXPECT_EQ(shares({cpus({0, 1, 2}), cpus({3, 4}), cpus({3, 4})}), (std::vector{3, 1, 1}));
  EXPECT_EQ(shares({cpus({8191, 0})}), (std::vector{2}));
}

TEST(HostThreads, StayWithinTheQuotaOfAContainer) {
  const CpuMask eight = cpus({0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(shares({eight, eight}, 3), (std::vector{2, 1}));
  EXPECT_EQ(shares({eight, eight}, 100), (std::vector{4, 4}));
  EXPECT_EQ(shares({eight, eight, eight}, 1), (std::vector{1, 1, 1}));
}

TEST(HostThreads, SeeThisMachine) {
  EXPECT_GE(own_cpu_mask().count(), 1u);
  EXPECT_GE(cpu_quota(), 0);
}

TEST(StartWatch, EndsAProcessThatWaitsForItsPeersForEver) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto wait = [] {
    const StartWatch watch(std::chrono::milliseconds(50));
    std::this_thread::sleep_for(std::chrono::seconds(60));
  };
  EXPECT_EXIT(wait(), testing::ExitedWithCode(6), "MPI has not brought the ranks together within 0.05 s");
}

// A handler would run on whichever thread the signal meets, with a stack that may be none (launcher/stop_signal.h).
TEST(StopSignal, IsTakenByAThreadOfItsOwn) {
  install_stop_signals();
  EXPECT_FALSE(stop_requested());
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("SigCgt:") && !line.starts_with("SigBlk:")) continue;
    const uint64_t mask = std::stoull(line.substr(7), nullptr, 16);
    for (const int number : {SIGINT, SIGTERM, SIGUSR1}) {
      EXPECT_EQ((mask >> (number - 1)) & 1, line.starts_with("SigBlk:") ? 1u : 0u) << line << " of signal " << number;
    }
  }
  ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
  for (int i = 0; i < 1000 && !stop_requested(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(stop_requested());
}

TEST(StartWatch, LetsGoOfWhoeverHasMet) {
  for (int i = 0; i < 100; ++i) StartWatch(std::chrono::minutes(1));
}

TEST(Progress, FormatsDurationsAndCounts) {
  EXPECT_EQ(format_duration(-3), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(187), "3:07");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "?");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(950), "950");
  EXPECT_EQ(format_count(999.6), "1.00k");
  EXPECT_EQ(format_count(12345), "12.3k");
  EXPECT_EQ(format_count(1250000), "1.25M");
  EXPECT_EQ(format_count(123456), "123k");
}

ProgressLine line_at(int64_t step, int64_t last) {
  return {
      {.step = step, .loss = 2.12345, .grad_norm = 0.5123, .learning_rate = 0.0019, .tokens = 12300, .step_seconds = 1},
      last,
      83};
}

TEST(Progress, FormatsAStep) {
  EXPECT_EQ(format_step(line_at(12, 500)),
            "step 12/500 | loss 2.1235 | grad norm 0.512 | lr 1.90e-03 | 12.3k tok/s | 1:23 left");
}

TEST(Progress, FormatsABarOfAnyWidth) {
  const std::string bar = format_bar(line_at(250, 500), {.width = 79});
  EXPECT_NE(bar.find("]  50%  step 250/500  loss 2.1235  12.3k tok/s  1:23 left"), std::string::npos) << bar;
  EXPECT_NEAR(std::count(bar.begin(), bar.end(), '#'), std::count(bar.begin(), bar.end(), '-'), 1);
  for (int width = 0; width < 200; ++width)
    EXPECT_LE(static_cast<int>(format_bar(line_at(1, 3), {.width = width}).size()), width);
  EXPECT_EQ(bar.find('\x1b'), std::string::npos);
  EXPECT_NE(format_bar(line_at(1, 2), {.width = 79, .colour = BarStyle::Colour::kOn}).find("\x1b[32m"), std::string::npos);
  EXPECT_NE(format_bar(line_at(500, 500), {}).find("100%"), std::string::npos);
  EXPECT_NE(format_bar(line_at(0, 0), {}).find("  0%"), std::string::npos);
}

TEST(Progress, PrintsPlainLinesWithoutATerminal) {
  std::ostringstream lines, bar;
  {
    ProgressPrinter printer({.mode = ProgressPrinter::Mode::kLines, .style = {}, .lines = lines, .bar = bar});
    printer.on_start({.first_step = 1, .last_step = 3});
    for (int64_t step = 1; step <= 3; ++step) printer.on_step(line_at(step, 3).report);
    printer.on_evaluation({.step = 3, .loss = 1, .perplexity = 2.718, .bits_per_byte = 1.4427, .tokens = 9});
    printer.on_checkpoint(3, "out/checkpoints/step_00000003", 0.25);
  }
  EXPECT_EQ(bar.str(), "");
  const std::string text = lines.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 6);
  EXPECT_EQ(text.find_first_of("\r\x1b"), std::string::npos);
  EXPECT_NE(text.find("held out | loss 1.0000 | perplexity 2.718 | 1.4427 bits per byte | 9 tokens"), std::string::npos)
      << text;
}

TEST(Progress, SaysThatNothingIsLeft) {
  EXPECT_EQ(format_start({.first_step = 1, .last_step = 100, .tokens_per_step = 64}), "steps 1 to 100 of 64 tokens");
  EXPECT_EQ(format_start({.first_step = 101, .last_step = 100}), "nothing left to do: training.steps is 100");
}

TEST(Progress, TakesTheWordOfAWrapperForTheTerminal) {
  const auto wrapped = [](const char* name) { return std::string(name) == "LONGSPAN_TERMINAL" ? "43" : nullptr; };
  const auto automatic = progress_options(config::Metrics::AUTO, wrapped);
  EXPECT_EQ(automatic.mode, ProgressPrinter::Mode::kBar);
  EXPECT_EQ(progress_options(config::Metrics::LINES, wrapped).mode, ProgressPrinter::Mode::kLines);
}

TEST(Progress, EndsItsBarWithALine) {
  std::ostringstream lines, bar;
  {
    ProgressPrinter printer({.mode = ProgressPrinter::Mode::kBar, .style = {}, .lines = lines, .bar = bar});
    printer.on_start({.first_step = 1, .last_step = 2});
    printer.on_step(line_at(1, 2).report);
  }
  EXPECT_EQ(lines.str(), "");
  EXPECT_EQ(bar.str().back(), '\n');
}

class ExitStatusTest : public ::testing::Test {
 protected:
  ExitStatusTest() : folder_(testing::TempDir() + "exit_status_" + std::to_string(getpid())) {
    std::filesystem::create_directories(folder_);
  }
  ~ExitStatusTest() override { std::filesystem::remove_all(folder_); }
  std::string contents() const {
    std::ifstream file(folder_ + "/exit_status.json");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string folder_;
};

TEST_F(ExitStatusTest, TheFirstRankWins) {
  EXPECT_EQ(claim_exit_status(folder_, {3, "no \"data\"\n", 2, "node1", 17}), Claim::kFirst);
  EXPECT_EQ(claim_exit_status(folder_, {6, "peer gone", 0, "node1", 17}), Claim::kTaken);
  EXPECT_EQ(contents(),
            "{\"code\": 3, \"reason\": \"no \\\"data\\\"\\n\", \"rank\": 2, \"host\": \"node1\", \"step\": 17}\n");
  clear_exit_status(folder_);
  EXPECT_EQ(claim_exit_status(folder_, {0, "done", 0, "node1", 20}), Claim::kFirst);
}

TEST_F(ExitStatusTest, SaysWhichLaunchItIsOf) {
  setenv("LONGSPAN_LAUNCH", "node1.4711.5", 1);
  EXPECT_EQ(claim_exit_status(folder_, {0, "done", 0, "node1", 20}), Claim::kFirst);
  unsetenv("LONGSPAN_LAUNCH");
  EXPECT_EQ(contents(),
            "{\"code\": 0, \"reason\": \"done\", \"rank\": 0, \"host\": \"node1\", \"step\": 20, "
            "\"launch\": \"node1.4711.5\"}\n");
}

TEST_F(ExitStatusTest, HasOneWinnerAmongMany) {
  std::atomic<int> winners{0};
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < 8; ++rank) {
    ranks.emplace_back([&, rank] {
      const ExitStatus status{3, "x", rank, "node" + std::to_string(rank), 0};
      if (claim_exit_status(folder_, status) == Claim::kFirst) ++winners;
    });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(winners, 1);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(ExitStatusTest, NeverThrows) {
  EXPECT_EQ(claim_exit_status(folder_ + "/missing", {1, "x", 0, "h", 0}), Claim::kImpossible);
}

TEST_F(ExitStatusTest, KnowsItsOwnFolders) {
  EXPECT_FALSE(is_run_directory(folder_));
  EXPECT_FALSE(is_run_directory(""));
  claim_exit_status(folder_, {});
  EXPECT_TRUE(is_run_directory(folder_));
}

TEST_F(ExitStatusTest, OneRunAtATimeHasItsFolder) {
  {
    const FolderLock first = FolderLock::take(folder_, "node1");
    EXPECT_TRUE(first.held());
    EXPECT_FALSE(FolderLock::try_take(folder_, "node2").held());
    try {
      FolderLock::take(folder_, "node2");
      ADD_FAILURE() << "taken twice";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfiguration);
      const std::string holder = "(pid " + std::to_string(getpid()) + " on node1)";
      EXPECT_NE(std::string(error.what()).find(holder), std::string::npos) << error.what();
    }
  }
  EXPECT_TRUE(FolderLock::try_take(folder_, "node2").held());
}

TEST_F(ExitStatusTest, TheConfigurationIsWrittenWhenTheRunStarts) {
  RunObserver observer;
  observer.keep_configuration(folder_ + "/config.textproto", "seed: 1");
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/config.textproto"));
  observer.on_start({.first_step = 1, .last_step = 2});
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/config.textproto"));
}

TEST(HostMemory, IsThatOfTheHostAtMost) {
  EXPECT_GT(host_memory_bytes(), 0);
  EXPECT_LE(host_memory_bytes(), sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
}

TEST(Failure, HasACodeForEveryKind) {
  EXPECT_EQ(exit_code(ErrorKind::kInternal), 1);
  EXPECT_EQ(exit_code(ErrorKind::kConfiguration), 2);
  EXPECT_EQ(exit_code(ErrorKind::kData), 3);
  EXPECT_EQ(exit_code(ErrorKind::kCheckpoint), 4);
  EXPECT_EQ(exit_code(ErrorKind::kResource), 5);
  EXPECT_EQ(exit_code(ErrorKind::kCommunication), 6);
  EXPECT_EQ(exit_code(ErrorKind::kNumerical), 7);
  EXPECT_EQ(describe(std::make_exception_ptr(std::bad_alloc())).code, 5);
  EXPECT_EQ(describe(std::make_exception_ptr(CommError("gone"))).code, 6);
  EXPECT_EQ(describe(std::make_exception_ptr(std::runtime_error("odd"))).code, 1);
  EXPECT_EQ(describe(std::make_exception_ptr(3)).code, 1);
}

}  // namespace
}  // namespace longspan
