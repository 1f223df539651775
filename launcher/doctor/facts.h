// What one rank knows of itself, its host and how it was started; and what ranks measured together.
//
// Facts travel to rank 0 as text. A number that could not be read is kUnknown, a text empty: containers hide much of
// /proc, and what is hidden is no finding.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "launcher/system_files.h"

namespace longspan::doctor {

struct CpuFacts {
  std::string model;
  std::string level;                      // of the kernels that run: core/base/cpu_level.h
  std::vector<std::string> instructions;  // of those that matter here, what the processor has
  std::string onednn;
  int64_t online = kUnknown;  // CPUs of the host
  std::vector<int> allowed;   // CPUs this rank may run on
  std::vector<int> cores;     // for each allowed CPU, the first CPU of its core: equal for SMT siblings
  std::vector<int> nodes;     // NUMA nodes of the allowed CPUs
  int64_t quota = 0;          // CPUs' worth of time that control groups grant; 0: no limit
  int64_t gpus = 0;               // of the host, by the files of the driver
  int64_t cuda_gpus = kUnknown;  // that CUDA shows this rank; unknown in a program without CUDA
  double gflops = 0;     // fp32 multiply-adds, this rank on one core
  double copy_gbps = 0;  // bytes read and written by a copy, this rank on one core
};

struct SpaceFacts {        // a folder
  std::string path, kind;  // "tmpfs", "nfs" ...
  int64_t total_bytes = kUnknown, free_bytes = kUnknown;
  int64_t writable = kUnknown;  // 1 or 0
};

struct MemoryFacts {
  int64_t total_bytes = kUnknown, available_bytes = kUnknown, swap_bytes = kUnknown;
  int64_t group_limit_bytes = kUnknown;  // of the control groups around this rank; kUnlimited
  std::string huge_pages;                // "always", "madvise", "never"
  int64_t lock_bytes = kUnknown, files = kUnknown, address_bytes = kUnknown, stack_bytes = kUnknown;  // limits
  int64_t rdma_devices = 0;
};

// Where another process may find a number of this one, to see whether it can.
struct Mailbox {
  int64_t pid = 0, address = 0, cookie = 0;
};

struct MpiFacts {
  std::string launch;                            // see launch_kind
  std::string library, thread_level, transport;  // empty without MPI
  std::string single_copy;           // "cma", "none" ...: how a long message to a rank of this host is copied
  std::string interfaces;            // that TCP uses
  int64_t segment_bytes = kUnknown;  // of shared memory, for each rank
  Mailbox mailbox;
  int64_t reads_neighbour = kUnknown;  // 1: this rank can copy from the memory of a rank beside it; 0: it cannot
  std::string program;                 // a sum over the program file
};

struct Facts {
  std::string host;
  CpuFacts cpu;
  MemoryFacts memory;
  MpiFacts mpi;
  SpaceFacts shared_memory, temporary, current, home;
  std::map<std::string, std::string> environment;  // variables that matter, by name
  double uptime_seconds = kUnknown;
  double unix_seconds = kUnknown;
  int64_t clock_is_kept = kUnknown;  // 1: the kernel says that something like NTP keeps its clock
};

std::string to_text(const Facts& facts);
// Raises CommError for what to_text never writes.
Facts facts_from_text(const std::string& text);

// Two ranks, both sending at once.
struct PairResult {
  int first = 0, second = 0;  // ranks
  double latency_seconds = 0;
  double bytes_per_second = 0;  // each way
};

struct ClockResult {
  int rank = 0;
  double offset_seconds = 0;  // of its clock, ahead of that of rank 0
  double uncertainty_seconds = 0;
};

// All ranks pass to the next at once; of the slowest rank.
struct RingResult {
  double bytes_per_second = 0;  // each way; 0: not measured
  double exposed = 0;           // share of that time still to wait after a pause long enough, without a call of MPI
};

struct Examination {
  std::vector<Facts> ranks;
  std::vector<PairResult> pairs;
  std::vector<ClockResult> clocks;
  RingResult ring;
  std::vector<std::string> silences;  // who did not answer, and in what
};

}  // namespace longspan::doctor
