// What the doctor collects, from trees of files that are not this machine's, and what ranks measure together.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <thread>

#include "core/base/error.h"
#include "launcher/doctor/collect.h"
#include "launcher/doctor/examine.h"
#include "launcher/doctor/measure.h"
#include "launcher/doctor/mpi_facts.h"
#include "parallel/comm/backends.h"

namespace longspan::doctor {
namespace {

constexpr int64_t kMiB = 1 << 20, kGiB = 1 << 30;

// A folder that stands for the root, with these files.
class FakeRoot : public testing::Test {
 protected:
  FakeRoot() : root_(std::filesystem::temp_directory_path() / ("longspan_doctor_" + std::to_string(getpid()))) {
    std::filesystem::create_directories(root_);
  }
  ~FakeRoot() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  SystemFiles files() const { return SystemFiles(root_); }

  std::string root_;
};

TEST_F(FakeRoot, TellsNothingWhenItIsEmpty) {
  const MemoryFacts memory = collect_memory(files());
  EXPECT_EQ(memory.total_bytes, kUnknown);
  EXPECT_EQ(memory.group_limit_bytes, kUnknown);
  EXPECT_EQ(memory.huge_pages, "");
  const CpuFacts cpu = collect_cpu(files(), {0, 5});
  EXPECT_EQ(cpu.online, kUnknown);
  EXPECT_EQ(cpu.model, "");
  EXPECT_EQ(cpu.cores, (std::vector{0, 5}));
  EXPECT_EQ(cpu.nodes, std::vector<int>{});
  EXPECT_EQ(cpu.quota, 0);
  EXPECT_EQ(cpu.gpus, 0);
}

TEST_F(FakeRoot, TellsOfTheProcessor) {
  write("/proc/cpuinfo",
        "processor\t: 0\nmodel name\t: AMD EPYC 9654\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16\n\n");
  write("/sys/devices/system/cpu/online", "0-3,8-11\n");
  write("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2,10\n");
  write("/sys/devices/system/cpu/cpu10/topology/thread_siblings_list", "2,10\n");
  write("/sys/devices/system/node/node0/cpulist", "0-3\n");
  write("/sys/devices/system/node/node1/cpulist", "8-11\n");
  write("/sys/devices/system/node/node2/cpulist", "\n");
  write("/dev/nvidia0", "");
  write("/dev/nvidia1", "");
  write("/dev/nvidiactl", "");
  const CpuFacts cpu = collect_cpu(files(), {2, 10});
  EXPECT_EQ(cpu.model, "AMD EPYC 9654");
  EXPECT_EQ(cpu.instructions, (std::vector<std::string>{"avx2", "avx512f", "avx512_bf16", "amx_bf16"}));
  EXPECT_EQ(cpu.online, 8);
  EXPECT_EQ(cpu.cores, (std::vector{2, 2}));
  EXPECT_EQ(cpu.nodes, (std::vector{0, 1}));
  EXPECT_EQ(collect_cpu(files(), {3}).nodes, (std::vector{0}));
  EXPECT_EQ(cpu.gpus, 2);
}

TEST_F(FakeRoot, TellsOfLimitsOfVersion2) {
  write("/proc/self/cgroup", "0::/slurm/job_7/step_0\n");
  write("/sys/fs/cgroup/slurm/job_7/memory.max", "8589934592\n");
  write("/sys/fs/cgroup/slurm/job_7/step_0/memory.max", "max\n");
  write("/sys/fs/cgroup/slurm/cpu.max", "600000 100000\n");
  write("/sys/fs/cgroup/slurm/job_7/cpu.max", "250000 100000\n");
  write("/sys/fs/cgroup/slurm/job_7/step_0/cpu.max", "max 100000\n");
  EXPECT_EQ(collect_memory(files()).group_limit_bytes, 8 * kGiB);
  EXPECT_EQ(collect_cpu(files(), {0}).quota, 2);
}

TEST_F(FakeRoot, TellsOfLimitsOfVersion1) {
  write("/proc/self/cgroup", "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(collect_memory(files()).group_limit_bytes, kUnlimited);
  write("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "536870912\n");
  write("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1\n");
  write("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(collect_memory(files()).group_limit_bytes, 512 * kMiB);
  EXPECT_EQ(collect_cpu(files(), {0}).quota, 0);
  write("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "400000\n");
  EXPECT_EQ(collect_cpu(files(), {0}).quota, 4);
}

TEST_F(FakeRoot, TellsOfMemory) {
  write("/proc/meminfo", "MemTotal:       65536 kB\nMemFree:  1 kB\nMemAvailable:    32768 kB\nSwapTotal:   1024 kB\n");
  write("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  write("/sys/class/infiniband/mlx5_0/x", "");
  const MemoryFacts memory = collect_memory(files());
  EXPECT_EQ(memory.total_bytes, 64 * kMiB);
  EXPECT_EQ(memory.available_bytes, 32 * kMiB);
  EXPECT_EQ(memory.swap_bytes, kMiB);
  EXPECT_EQ(memory.huge_pages, "never");
  EXPECT_EQ(memory.rdma_devices, 1);
  EXPECT_NE(memory.files, kUnknown);
}

TEST_F(FakeRoot, SurvivesNonsense) {
  for (const char* nonsense :
       {"", "\n", "[", "9999999999999999999999 kB", "-", "0-", "3-1,,", "a,b", "0-99999999999", "1:2", ":::"}) {
    write("/proc/self/cgroup", nonsense + std::string("\n0::/../..//x\n4:memory"));
    write("/proc/meminfo", "MemTotal:" + std::string(nonsense));
    write("/proc/cpuinfo", nonsense);
    write("/sys/devices/system/cpu/online", nonsense);
    write("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", nonsense);
    write("/sys/devices/system/node/node0/cpulist", nonsense);
    write("/sys/kernel/mm/transparent_hugepage/enabled", nonsense);
    EXPECT_EQ(collect_memory(files()).huge_pages, "") << nonsense;
    EXPECT_EQ(collect_cpu(files(), {0}).model, "") << nonsense;
  }
}

TEST(DoctorCollect, ReadsAndWritesLists) {
  EXPECT_EQ(parse_cpu_list("0-3,8"), (std::vector{0, 1, 2, 3, 8}));
  EXPECT_EQ(parse_cpu_list("7"), (std::vector{7}));
  EXPECT_EQ(parse_cpu_list(""), std::vector<int>{});
  EXPECT_EQ(parse_cpu_list("1,x,3"), (std::vector{1}));
  EXPECT_EQ(format_cpu_list({0, 1, 2, 3, 8, 10, 11}), "0-3,8,10-11");
}

TEST(DoctorCollect, TakesTheVariablesThatMatter) {
  const char* const environment[] = {"HOME=/h",  "OMPI_MCA_btl=tcp=x", "SECRET_TOKEN=1",
                                     "NOEQUALS", "UCX_TLS=",           nullptr};
  EXPECT_EQ(variables_that_matter(environment),
            (std::map<std::string, std::string>{{"HOME", "/h"}, {"OMPI_MCA_btl", "tcp=x"}, {"UCX_TLS", ""}}));
}

TEST(DoctorCollect, SeesThisMachine) {
  const char* const environment[] = {nullptr};
  const Facts facts = collect(SystemFiles(), environment);
  EXPECT_GT(facts.cpu.gflops, 0);
  EXPECT_GT(facts.cpu.copy_gbps, 0);
  EXPECT_GT(facts.memory.total_bytes, 0);
  EXPECT_GT(facts.temporary.free_bytes, 0);
  EXPECT_FALSE(facts.cpu.allowed.empty());
  EXPECT_GT(facts.unix_seconds, 1.7e9);
}

std::string launch_with(const std::map<std::string, std::string>& environment) {
  return launch_kind([&](const char* name) {
    const auto it = environment.find(name);
    return it == environment.end() ? nullptr : it->second.c_str();
  });
}

TEST(DoctorCollect, TellsHowItWasStarted) {
  EXPECT_EQ(launch_with({}), "alone");
  EXPECT_EQ(launch_with({{"OMPI_COMM_WORLD_SIZE", "2"}, {"PMIX_RANK", "0"}, {"SLURM_PROCID", "0"}}), "mpirun");
  EXPECT_EQ(launch_with({{"PMIX_RANK", "0"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}}), "srun");
  EXPECT_EQ(launch_with({{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}, {"SLURM_STEP_ID", "0"}}), "srun without pmix");
  EXPECT_EQ(launch_with({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}), "another MPI");
}

TEST(DoctorFacts, SurviveTheJourney) {
  Facts facts;
  facts.host = "n\xff\"1";
  facts.cpu.allowed = {3, 4};
  facts.memory.lock_bytes = kUnlimited;
  facts.mpi.mailbox = {1, INT64_MAX, 3};
  facts.environment = {{"A", "b\nc"}};
  facts.uptime_seconds = 0.1;
  const Facts back = facts_from_text(to_text(facts));
  EXPECT_EQ(back.host, "n\xef\xbf\xbd\"1");
  EXPECT_EQ(back.cpu.allowed, facts.cpu.allowed);
  EXPECT_EQ(back.memory.lock_bytes, kUnlimited);
  EXPECT_EQ(back.mpi.mailbox.address, INT64_MAX);
  EXPECT_EQ(back.environment, facts.environment);
  EXPECT_EQ(back.uptime_seconds, 0.1);
  EXPECT_THROW(facts_from_text("{}"), CommError);
  EXPECT_THROW(facts_from_text("not JSON"), CommError);
}

TEST(DoctorFacts, ReadMemoryWhereItIs) {
  Mailbox mailbox = make_mailbox();
  EXPECT_TRUE(can_read(mailbox));
  ++mailbox.cookie;
  EXPECT_FALSE(can_read(mailbox));
  EXPECT_FALSE(can_read({.pid = getpid(), .address = 8, .cookie = 0}));
}

TEST(DoctorRounds, TakeAllPairsOfFewHostsAndARingOfMany) {
  EXPECT_TRUE(rounds_between({0}).empty());
  EXPECT_EQ(rounds_between({0, 4}), (std::vector<Round>{{{0, 4}}}));
  std::vector<int> sixteen(16), many(17);
  std::iota(sixteen.begin(), sixteen.end(), 0);
  std::iota(many.begin(), many.end(), 0);
  EXPECT_EQ(rounds_between(sixteen).size(), 120u);
  for (int count : {17, 18, 1000}) {
    many.resize(static_cast<size_t>(count));
    std::iota(many.begin(), many.end(), 0);
    std::set<std::pair<int, int>> all;
    for (const Round& round : rounds_between(many)) {
      std::set<int> busy;
      for (const auto& pair : round) {
        EXPECT_TRUE(busy.insert(pair.first).second && busy.insert(pair.second).second) << count;
        all.insert(pair);
      }
    }
    for (int i = 0; i + 1 < count; ++i) EXPECT_TRUE(all.contains({i, i + 1})) << count << " " << i;
    EXPECT_TRUE(all.contains({0, count - 1})) << count;
  }
}

Facts fake_facts(int rank) {
  Facts facts;
  facts.mpi.launch = "mpirun";
  facts.cpu.model = "of rank " + std::to_string(rank);
  facts.mpi.mailbox = make_mailbox();
  return facts;
}

TEST(DoctorExamination, MeasuresHostsPairsClocksAndTheRing) {
  Examination found;
  run_in_process(6, [&](Communicator& world) {
    const int rank = world.rank();
    Examination mine = examine(world, "node" + std::to_string(rank / 2), [&] { return fake_facts(rank); });
    if (rank == 0) found = std::move(mine);
  });
  EXPECT_TRUE(found.silences.empty());
  ASSERT_EQ(found.ranks.size(), 6u);
  EXPECT_EQ(found.ranks[5].host, "node2");
  EXPECT_EQ(found.ranks[5].cpu.model, "of rank 5");
  EXPECT_EQ(found.ranks[1].mpi.reads_neighbour, 1);
  std::set<std::pair<int, int>> pairs;
  for (const PairResult& pair : found.pairs) {
    pairs.emplace(pair.first, pair.second);
    EXPECT_GT(pair.bytes_per_second, 0);
    EXPECT_GT(pair.latency_seconds, 0);
  }
  EXPECT_EQ(pairs, (std::set<std::pair<int, int>>{{0, 2}, {0, 4}, {2, 4}, {0, 1}, {2, 3}, {4, 5}}));
  ASSERT_EQ(found.clocks.size(), 2u);
  for (const ClockResult& clock : found.clocks)
    EXPECT_LT(std::abs(clock.offset_seconds), 0.01 + clock.uncertainty_seconds);
  EXPECT_GT(found.ring.bytes_per_second, 0);
}

TEST(DoctorExamination, SeesWhoCannotReadTheMemoryOfANeighbour) {
  run_in_process(2, [&](Communicator& world) {
    const Examination found = examine(world, "node", [&] {
      Facts facts = fake_facts(world.rank());
      facts.mpi.mailbox.cookie ^= 1;  // not what a neighbour will find
      return facts;
    });
    if (world.rank() == 0) {
      EXPECT_EQ(found.ranks[1].mpi.reads_neighbour, 0);
    }
  });
}

// What rank 0 knows when rank 2 leaves after `last`: 0 nothing, 1 its host, 2 its facts.
Examination examine_without(int last) {
  Examination found;
  try {
    run_in_process(3, [&](Communicator& world) {
      Dialogue dialogue(world);
      std::vector<int> silent;
      const std::string host = "node" + std::to_string(world.rank());
      if (world.rank() == 2) {
        if (last > 0) dialogue.gather(host, 10, silent);
        if (last > 1) dialogue.gather(to_text(fake_facts(2)), 10, silent);
        return;
      }
      Examination mine = examine(world, host, [&] { return fake_facts(world.rank()); });
      if (world.rank() == 0) found = std::move(mine);
    });
  } catch (const CommError&) {
    // Rank 1 waits for orders that never come.
  }
  return found;
}

TEST(DoctorExamination, NamesARankThatIsSilent) {
  const std::string reasons[] = {"rank 2 did not say which host it is on", "rank 2 on node2 did not send its facts",
                                 "rank 2 on node2 did not answer"};
  for (const int last : {0, 1, 2}) {
    const Examination found = examine_without(last);
    ASSERT_FALSE(found.silences.empty()) << last;
    EXPECT_EQ(found.silences[0].substr(0, reasons[last].size()), reasons[last]);
  }
}

TEST(DoctorMeasure, GivesUpOnAPartnerThatNeverAnswers) {
  run_in_process(2, [&](Communicator& world) {
    Dialogue dialogue(world);
    if (world.rank() == 0) {
      EXPECT_THROW(dialogue.exchange(1, {1}, 0.2), CommError);
      dialogue.exchange(1, {1}, 5);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      dialogue.exchange(0, {1}, 5);
      dialogue.exchange(0, {1}, 5);
    }
  });
}

TEST(DoctorMeasure, KnowsHowFarAClockIsAhead) {
  run_in_process(2, [&](Communicator& world) {
    Dialogue dialogue(world);
    if (world.rank() == 1) return answer_clock(dialogue, 0, [] { return 1000 + wall_clock(); });
    const ClockResult clock = ask_clock(dialogue, 1);
    EXPECT_NEAR(clock.offset_seconds, 1000, 0.01 + clock.uncertainty_seconds);
    EXPECT_LT(clock.uncertainty_seconds, 10);
  });
}

}  // namespace
}  // namespace longspan::doctor
