// What the doctor makes of facts: a healthy cluster is ok throughout, and each thing that is wrong is found.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "launcher/doctor/judge.h"
#include "launcher/doctor/print.h"
#include "launcher/doctor/roll.h"

namespace longspan::doctor {
namespace {

constexpr int64_t kKiB = 1 << 10, kMiB = 1 << 20, kGiB = 1 << 30;

Facts healthy_rank(const std::string& host, std::vector<int> cpus) {
  Facts facts;
  facts.host = host;
  facts.cpu = {.model = "Xeon",
               .level = "avx512",
               .instructions = {"avx2", "avx512f"},
               .onednn = "2.6.3",
               .online = 4,
               .allowed = cpus,
               .cores = cpus,
               .nodes = {0},
               .quota = 0,
               .gpus = 0,
               .gflops = 100,
               .copy_gbps = 20};
  facts.memory = {.total_bytes = 64 * kGiB,
                  .available_bytes = 60 * kGiB,
                  .swap_bytes = 0,
                  .group_limit_bytes = kUnlimited,
                  .huge_pages = "madvise",
                  .lock_bytes = kUnlimited,
                  .files = 65536,
                  .address_bytes = kUnlimited,
                  .stack_bytes = 8 * kMiB,
                  .rdma_devices = 0};
  facts.mpi.launch = "mpirun";
  facts.mpi.library = "Open MPI v4.1.4";
  facts.mpi.thread_level = "funneled";
  facts.mpi.transport = "ob1 over vader, tcp";
  facts.mpi.single_copy = "cma";
  facts.mpi.segment_bytes = 4 * kMiB;
  facts.mpi.reads_neighbour = 1;
  facts.mpi.program = "0a1b2c3d";
  facts.shared_memory = {
      .path = "/dev/shm", .kind = "tmpfs", .total_bytes = 32 * kGiB, .free_bytes = 31 * kGiB, .writable = 1};
  facts.temporary = {.path = "/tmp", .kind = "local", .total_bytes = 99 * kGiB, .free_bytes = 50 * kGiB, .writable = 1};
  facts.current = facts.home = facts.temporary;
  facts.environment = {{"HOME", "/root"}};
  facts.uptime_seconds = 7200;
  facts.unix_seconds = 1.8e9;
  facts.clock_is_kept = 1;
  return facts;
}

// node1 with ranks 0 and 1, node2 with 2 and 3, node3 with 4 and 5; two of four CPUs each.
Examination healthy() {
  Examination found;
  for (const char* host : {"node1", "node2", "node3"}) {
    found.ranks.push_back(healthy_rank(host, {0, 1}));
    found.ranks.push_back(healthy_rank(host, {2, 3}));
  }
  found.pairs = {{0, 2, 2e-5, 1e9}, {0, 4, 2e-5, 1.1e9}, {2, 4, 2e-5, 0.9e9},
                 {0, 1, 1e-6, 8e9}, {2, 3, 1e-6, 8e9},   {4, 5, 1e-6, 8e9}};
  found.clocks = {{2, 1e-5, 1e-5}, {4, -1e-5, 1e-5}};
  found.ring = {9e8, 0.5};
  return found;
}

std::string report_of(const Examination& found) {
  return format_report(judge(found));
}

struct Case {
  const char* name;
  Status status;
  const char* text;  // a part of the finding
  std::function<void(Examination&)> spoil;
};

template <class Spoil>
std::function<void(Examination&)> every_rank(Spoil spoil) {
  return [spoil](Examination& found) {
    for (Facts& facts : found.ranks) spoil(facts);
  };
}

void alone(Examination& found) {
  found = Examination{};
  found.ranks.push_back(healthy_rank("node1", {0, 1, 2, 3}));
  found.ranks[0].mpi = MpiFacts();
  found.ranks[0].mpi.launch = "alone";
}

void share_a_core(Examination& found) {
  found.ranks[2].cpu.allowed = found.ranks[3].cpu.allowed = found.ranks[2].cpu.cores = found.ranks[3].cpu.cores = {1};
}

const std::vector<Case> kMachineAndMpi = {
    {"portable", Status::kWarning, "kernels run portable", every_rank([](Facts& f) { f.cpu.level = "portable"; })},
    {"levels", Status::kWarning, "instruction sets differ: avx512 (node1), avx2 (node2)",
     [](Examination& e) { e.ranks[2].cpu.level = e.ranks[3].cpu.level = "avx2"; }},
    {"models", Status::kWarning, "processors differ: Xeon (node1), EPYC (node3)",
     [](Examination& e) { e.ranks[4].cpu.model = e.ranks[5].cpu.model = "EPYC"; }},
    {"onednn", Status::kWarning, "versions of oneDNN differ: 2.6.3 (node1), 3.1.1 (node2)",
     [](Examination& e) { e.ranks[2].cpu.onednn = "3.1.1"; }},
    {"slow core", Status::kWarning, "rank 3 on node2 reaches 40 GFLOP/s, rank",
     [](Examination& e) { e.ranks[3].cpu.gflops = 40; }},
    {"gpu", Status::kNote, "8 NVIDIA GPUs are visible and stay unused", every_rank([](Facts& f) { f.cpu.gpus = 8; })},
    {"gpu to use", Status::kNote, "4 GPUs for each rank to choose from", every_rank([](Facts& f) {
       f.cpu.gpus = 8;
       f.cpu.cuda_gpus = 4;
     })},
    {"gpu that CUDA does not show", Status::kWarning, "has 8 NVIDIA GPUs, but CUDA shows this rank none",
     every_rank([](Facts& f) {
       f.cpu.gpus = 8;
       f.cpu.cuda_gpus = 0;
     })},
    {"srun without pmix", Status::kError, "srun started 4 tasks, but MPI cannot see them",
     [](Examination& e) {
       alone(e);
       e.ranks[0].mpi.launch = "srun without pmix";
       e.ranks[0].environment["SLURM_NTASKS"] = "4";
     }},
    {"another MPI", Status::kError, "mpirun of another MPI (MPICH, Intel) started 8 processes",
     [](Examination& e) {
       alone(e);
       e.ranks[0].mpi.launch = "another MPI";
       e.ranks[0].environment["PMI_SIZE"] = "8";
     }},
    {"batch shell", Status::kNote, "one process, without MPI, in a Slurm job of 4 tasks",
     [](Examination& e) {
       alone(e);
       e.ranks[0].environment["SLURM_NTASKS"] = "4";
     }},
    {"programs", Status::kError,
     "ranks differ in the program file: 0a1b2c3d (node1, rank 2 on node2, node3), ffffffff (rank 3 on node2)",
     [](Examination& e) { e.ranks[3].mpi.program = "ffffffff"; }},
    {"libraries", Status::kError, "ranks differ in the MPI library: Open MPI v4.1.4 (node1, node2), Open MPI v5.0.3 (node3)",
     [](Examination& e) { e.ranks[4].mpi.library = e.ranks[5].mpi.library = "Open MPI v5.0.3"; }},
    {"thread level", Status::kError, "threads: single", every_rank([](Facts& f) { f.mpi.thread_level = "single"; })},
    {"cma", Status::kWarning, "node2: Open MPI tries to copy long messages straight from a neighbour's memory (CMA)",
     [](Examination& e) { e.ranks[3].mpi.reads_neighbour = 0; }},
};

const std::vector<Case> kBinding = {
    {"one core", Status::kWarning, "node2: ranks 2-3 are bound to the same CPU 1; the host has 4", share_a_core},
    {"one core counts", Status::kWarning, "node2: 2 ranks with 2 threads in all on 1 CPU", share_a_core},
    {"overlap", Status::kWarning, "node1: ranks 0 and 1 overlap in part, on CPU 1",
     [](Examination& e) {
       e.ranks[1].cpu.allowed = {1, 2, 3};
     }},
    {"bound to core", Status::kWarning, "each of 3 hosts: ranks may use 2 of the host's 4 CPUs, each one alone",
     every_rank([](Facts& f) { f.cpu.allowed.resize(1); })},
    {"idle CPUs", Status::kNote, "ranks may use 4 of the host's 64 CPUs",
     every_rank([](Facts& f) { f.cpu.online = 64; })},
    {"oversubscribed", Status::kWarning, "node3: 5 ranks with 6 threads in all on 4 CPUs",
     [](Examination& e) {
       for (int i = 0; i < 3; ++i) e.ranks.push_back(healthy_rank("node3", {0, 1}));
     }},
    {"quota", Status::kWarning, "2 ranks with 2 threads in all on 1 CPU (a quota; 4 are visible)",
     every_rank([](Facts& f) { f.cpu.quota = 1; })},
    {"NUMA", Status::kNote, "CPUs of NUMA nodes 0-1 are open to each rank", every_rank([](Facts& f) {
       f.cpu.nodes = {0, 1};
     })},
    {"NUMA, one rank", Status::kNote, "CPUs of NUMA nodes 0-3 belong to one rank",
     [](Examination& e) {
       alone(e);
       e.ranks[0].cpu.nodes = {0, 1, 2, 3};
     }},
    {"SMT", Status::kNote, "4 CPUs are hardware threads of 2 cores", every_rank([](Facts& f) {
       f.cpu.cores = {f.cpu.allowed[0], f.cpu.allowed[0]};
     })},
};

const std::vector<Case> kMemory = {
    {"little memory", Status::kWarning, "node1: 512 MiB of memory for each rank",
     [](Examination& e) { e.ranks[0].memory.available_bytes = kGiB; }},
    {"no memory", Status::kError, "100 MiB of memory for each rank",
     every_rank([](Facts& f) { f.memory.available_bytes = 200 * kMiB; })},
    {"cgroup", Status::kNote, "a control group limits the ranks of a host to 8 GiB of 64 GiB",
     every_rank([](Facts& f) { f.memory.group_limit_bytes = 8 * kGiB; })},
    {"small cgroup", Status::kWarning, "node2: 512 MiB of memory for each rank",
     [](Examination& e) { e.ranks[2].memory.group_limit_bytes = kGiB; }},
    {"swap", Status::kNote, "8 GiB of swap", every_rank([](Facts& f) { f.memory.swap_bytes = 8 * kGiB; })},
    {"huge pages", Status::kNote, "transparent huge pages: never",
     every_rank([](Facts& f) { f.memory.huge_pages = "never"; })},
    {"memlock", Status::kNote, "64 KiB may be locked", every_rank([](Facts& f) { f.memory.lock_bytes = 64 * kKiB; })},
    {"memlock with RDMA", Status::kError,
     "rank 1 on node1: 64 KiB may be locked (ulimit -l), and this host has RDMA devices",
     [](Examination& e) {
       e.ranks[1].memory.lock_bytes = 64 * kKiB;
       e.ranks[1].memory.rdma_devices = 1;
     }},
    {"some memlock with RDMA", Status::kWarning, "8 MiB may be locked (ulimit -l), and this host has RDMA devices",
     every_rank([](Facts& f) { f.memory.lock_bytes = 8 * kMiB, f.memory.rdma_devices = 2; })},
    {"files", Status::kError, "node1: 64 open files",
     [](Examination& e) { e.ranks[0].memory.files = e.ranks[1].memory.files = 64; }},
    {"few files", Status::kWarning, "100 open files", every_rank([](Facts& f) { f.memory.files = 100; })},
    {"address space", Status::kError, "the address space is limited to 2 GiB",
     every_rank([](Facts& f) { f.memory.address_bytes = 2 * kGiB; })},
    {"stack", Status::kWarning, "a stack has 64 to 256 KiB",
     [](Examination& e) {
       e.ranks[0].memory.stack_bytes = 64 * kKiB;
       e.ranks[5].memory.stack_bytes = 256 * kKiB;
     }},
};

const std::vector<Case> kStorage = {
    {"container's shm", Status::kWarning, "/dev/shm has 60 MiB free of 64 MiB",
     every_rank([](Facts& f) { f.shared_memory.total_bytes = 64 * kMiB, f.shared_memory.free_bytes = 60 * kMiB; })},
    {"shm too small", Status::kError, "node2: /dev/shm has 3 MiB free of 4 MiB",
     [](Examination& e) {
       e.ranks[2].shared_memory = {"/dev/shm", "tmpfs", 4 * kMiB, 3 * kMiB, 1};
     }},
    {"shm full", Status::kError, "/dev/shm has 0 KiB free of 32 GiB",
     every_rank([](Facts& f) { f.shared_memory.free_bytes = 0; })},
    {"shm read-only", Status::kError, "/dev/shm cannot be written",
     every_rank([](Facts& f) { f.shared_memory.writable = 0; })},
    {"tmp on nfs", Status::kWarning, "/tmp is on a network file system (nfs)",
     every_rank([](Facts& f) { f.temporary.kind = "nfs"; })},
    {"tmp full", Status::kError, "node3: /tmp has 1 MiB free",
     [](Examination& e) { e.ranks[4].temporary.free_bytes = kMiB; }},
    {"no TMPDIR", Status::kError, "TMPDIR /gone is no folder", every_rank([](Facts& f) {
       f.environment["TMPDIR"] = "/gone";
       f.temporary = {.path = "/gone", .kind = ""};
     })},
    {"disk full", Status::kWarning, "the current folder has 100 MiB free",
     every_rank([](Facts& f) { f.current.free_bytes = 100 * kMiB; })},
};

const std::vector<Case> kClocksAndNetwork = {
    {"clock ahead", Status::kWarning, "the clock of node2 is 20.0 ms ahead of that of node1",
     [](Examination& e) { e.clocks[0].offset_seconds = 0.02001; }},
    {"clock behind", Status::kWarning, "the clock of node3 is 90 s behind that of node1",
     [](Examination& e) { e.clocks[1].offset_seconds = -90; }},
    {"clock unset", Status::kError, "node1: the clock is before the year 2024",
     [](Examination& e) { e.ranks[0].unix_seconds = 100; }},
    {"clock not kept", Status::kNote, "the kernel does not know its clock to be kept",
     every_rank([](Facts& f) { f.clock_is_kept = 0; })},
    {"slow pair", Status::kWarning, "slow: rank 0 on node1 and rank 4 on node3: 400 MB/s each way",
     [](Examination& e) { e.pairs[1].bytes_per_second = 4e8; }},
    {"slow host", Status::kWarning, "node2 is slow with every host: 120 MB/s at best, where others reach 1.10 GB/s",
     [](Examination& e) { e.pairs[0].bytes_per_second = e.pairs[2].bytes_per_second = 1.2e8; }},
    {"late pair", Status::kWarning, "slow: rank 2 on node2 and rank 4 on node3: 900 MB/s each way, latency 500 us",
     [](Examination& e) { e.pairs[2].latency_seconds = 5e-4; }},
    {"slow host inside", Status::kWarning, "slow: rank 4 on node3 and rank 5 on node3: 1.00 GB/s",
     [](Examination& e) { e.pairs[5].bytes_per_second = 1.001e9; }},
    {"silent", Status::kError, "rank 3 on node2 did not answer",
     [](Examination& e) { e.silences = {"rank 3 on node2 did not answer"}; }},
};

const std::vector<Case> kEnvironment = {
    {"OMP_NUM_THREADS", Status::kWarning, "OMP_NUM_THREADS=64, but a rank's share of this host is 2",
     every_rank([](Facts& f) { f.environment["OMP_NUM_THREADS"] = "64"; })},
    {"small OMP_NUM_THREADS", Status::kNote, "OMP_NUM_THREADS=1",
     every_rank([](Facts& f) { f.environment["OMP_NUM_THREADS"] = "1"; })},
    {"OMP_PROC_BIND", Status::kWarning, "OMP_PROC_BIND=true",
     every_rank([](Facts& f) { f.environment["OMP_PROC_BIND"] = "true"; })},
    {"OMP_THREAD_LIMIT", Status::kWarning, "OMP_THREAD_LIMIT=1",
     every_rank([](Facts& f) { f.environment["OMP_THREAD_LIMIT"] = "1"; })},
    {"btl without self", Status::kError, "OMPI_MCA_btl=tcp,vader leaves out self",
     every_rank([](Facts& f) { f.environment["OMPI_MCA_btl"] = "tcp,vader"; })},
    {"btl without vader", Status::kWarning, "OMPI_MCA_btl=tcp,self leaves out shared memory",
     every_rank([](Facts& f) { f.environment["OMPI_MCA_btl"] = "tcp,self"; })},
    {"settings", Status::kNote, "node1: OMPI_MCA_pml=ob1 UCX_TLS=tcp",
     [](Examination& e) {
       e.ranks[0].environment.insert({{"OMPI_MCA_pml", "ob1"}, {"UCX_TLS", "tcp"}, {"OMPI_MCA_orte_launch", "1"}});
     }},
    {"NCCL", Status::kNote, "NCCL_DEBUG=INFO", every_rank([](Facts& f) { f.environment["NCCL_DEBUG"] = "INFO"; })},
    {"LD_PRELOAD", Status::kNote, "LD_PRELOAD=/x.so",
     every_rank([](Facts& f) { f.environment["LD_PRELOAD"] = "/x.so"; })},
    {"HOME", Status::kNote, "HOME /tmp cannot be written", every_rank([](Facts& f) { f.home.writable = 0; })},
};

TEST(DoctorJudge, FindsNothingWrongWithAHealthyCluster) {
  for (const Finding& finding : judge(healthy())) EXPECT_EQ(finding.status, Status::kOk) << finding.text;
  EXPECT_EQ(exit_code_of(healthy(), judge(healthy())), 0);
  const std::string report = report_of(healthy());
  EXPECT_NE(report.find("6 ranks on 3 hosts, started by mpirun: 2 on node1, 2 on node2, 2 on node3"), std::string::npos)
      << report;
  EXPECT_NE(
      report.find("3 pairs between hosts: median 1 GB/s each way, latency 20 us; slowest rank 2 on node2 and rank 4 on "
                  "node3 with 900 MB/s"),
      std::string::npos)
      << report;
  EXPECT_NE(report.find("           node2       20.0        -    900.0\n"), std::string::npos) << report;
  EXPECT_NE(report.find("0 errors, 0 warnings, 0 notes"), std::string::npos) << report;
}

TEST(DoctorJudge, ShowsWhichRanksAreOnWhichHost) {
  const std::string report = report_of(healthy());
  EXPECT_NE(report.find("ranks by host: node1 has 0-1, node2 has 2-3, node3 has 4-5\n"), std::string::npos) << report;
  EXPECT_NE(report.find("mesh.tensor stays on a host if it divides 2"), std::string::npos) << report;
  Examination in_turn = healthy();
  for (size_t rank = 0; rank < 6; ++rank) in_turn.ranks[rank].host = fmt::format("node{}", rank % 3 + 1);
  EXPECT_NE(report_of(in_turn).find("node1 has 0,3, node2 has 1,4, node3 has 2,5; they were dealt to the hosts in turn"),
            std::string::npos)
      << report_of(in_turn);
  Examination uneven = healthy();
  uneven.ranks[2].host = "node1";
  EXPECT_NE(report_of(uneven).find("hosts have 1 to 3 ranks, with no divisor in common"), std::string::npos) << report_of(uneven);
}

TEST(DoctorJudge, FindsEachThingThatIsWrong) {
  for (const auto* cases : {&kMachineAndMpi, &kBinding, &kMemory, &kStorage, &kClocksAndNetwork, &kEnvironment}) {
    for (const Case& one : *cases) {
      SCOPED_TRACE(one.name);
      Examination found = healthy();
      one.spoil(found);
      const std::vector<Finding> findings = judge(found);
      const auto finding = std::find_if(findings.begin(), findings.end(),
                                        [&](const Finding& f) { return f.text.find(one.text) != std::string::npos; });
      if (finding == findings.end()) {
        ADD_FAILURE() << format_report(findings);
        continue;
      }
      EXPECT_EQ(finding->status, one.status) << finding->text;
      const bool is_error = one.status == Status::kError;
      EXPECT_EQ(exit_code_of(found, findings), !is_error ? 0 : found.silences.empty() ? 5 : 6);
    }
  }
}

TEST(DoctorJudge, SaysWhatToDoAboutAllThatIsNotOk) {
  for (const auto* cases : {&kMachineAndMpi, &kBinding, &kMemory, &kStorage, &kClocksAndNetwork, &kEnvironment}) {
    for (const Case& one : *cases) {
      Examination found = healthy();
      one.spoil(found);
      for (const Finding& finding : judge(found))
        EXPECT_NE(finding.status == Status::kOk, !finding.advice.empty()) << finding.text;
    }
  }
}

TEST(DoctorJudge, SaysNothingOfWhatIsUnknown) {
  Examination found;
  found.ranks.resize(2);
  for (Facts& facts : found.ranks) {
    facts.host = "node1";
    facts.mpi.launch = "mpirun";
    facts.temporary = {
        .path = "/tmp", .kind = "local", .total_bytes = 99 * kGiB, .free_bytes = 50 * kGiB, .writable = 1};
    facts.home = facts.temporary;
  }
  for (const Finding& finding : judge(found)) EXPECT_EQ(finding.status, Status::kOk) << finding.text;
  found.ranks[1] = Facts();  // it was silent
  found.ranks[1].host = "node1";
  for (const Finding& finding : judge(found)) EXPECT_EQ(finding.status, Status::kOk) << finding.text;
}

// A thousand ranks that agree need one line, and those that do not are counted, not listed.
TEST(DoctorJudge, StaysShortForManyRanks) {
  Examination found;
  for (int host = 0; host < 256; ++host) {
    for (int rank = 0; rank < 4; ++rank) found.ranks.push_back(healthy_rank("node" + std::to_string(host), {rank}));
  }
  const std::string agreed = report_of(found);
  EXPECT_LT(std::count(agreed.begin(), agreed.end(), '\n'), 60) << agreed;
  for (size_t rank = 0; rank < found.ranks.size(); rank += 8) found.ranks[rank].memory.stack_bytes = 64 * kKiB;
  const std::string report = report_of(found);
  EXPECT_NE(report.find("rank 56 on node14 and 120 more: a stack has 64 KiB"), std::string::npos) << report;
  EXPECT_LT(report.size(), agreed.size() + 500);
}

TEST(DoctorReport, FormatsAmounts) {
  EXPECT_EQ(format_amount(1536.0 * kMiB, Unit::kBytes), "1.50 GiB");
  EXPECT_EQ(format_amount(0, Unit::kBytes), "0 KiB");
  EXPECT_EQ(format_amount(1.234e-5, Unit::kSeconds), "12.3 us");
  EXPECT_EQ(format_range(512.0 * kMiB, 2.0 * kGiB, Unit::kBytes), "0.50 to 2 GiB");
  EXPECT_EQ(format_range(5, 5, Unit::kNone), "5");
}

TEST(DoctorReport, GroupsByTopic) {
  EXPECT_EQ(format_report({{Topic::kStorage, Status::kError, "full", "empty it"},
                           {Topic::kMachine, Status::kOk, "fine", ""},
                           {Topic::kStorage, Status::kNote, "slow", "wait"}}),
            "machine\n  ok       fine\nstorage\n  error    full\n           -> empty it\n  note     slow\n           "
            "-> wait\n"
            "1 error, 0 warnings, 1 note\n");
}

}  // namespace
}  // namespace longspan::doctor
