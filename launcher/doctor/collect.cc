#include "launcher/doctor/collect.h"

#include <sys/statfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/base/cpu_level.h"
#include "launcher/doctor/measure.h"
#include "launcher/host_threads.h"
#include "launcher/peak.h"

namespace longspan::doctor {
namespace {

std::vector<int> allowed_cpus() {
  const CpuMask mask = own_cpu_mask();
  std::vector<int> cpus;
  for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (mask[static_cast<size_t>(cpu)]) cpus.push_back(cpu);
  }
  return cpus;
}

// By the magic numbers of statfs(2); those that matter here.
std::string file_system(uint64_t magic) {
  switch (magic & 0xffffffff) {
    case 0x01021994: return "tmpfs";
    case 0x6969: return "nfs";
    case 0x0bd00bd0: return "lustre";
    case 0x47504653: return "gpfs";
    case 0xff534d42:
    case 0xfe534d42:
    case 0x517b: return "smb";
    case 0x00c36400: return "ceph";
    case 0x19830326: return "beegfs";
    case 0x5346414f: return "afs";
    case 0x65735546: return "fuse";
    case 0x794c7630: return "overlay";
    default: return "local";
  }
}

int64_t clock_is_kept() {
  timex state{};
  const int answer = adjtimex(&state);
  if (answer < 0) return kUnknown;
  return answer != TIME_ERROR && !(state.status & STA_UNSYNC);
}

}  // namespace

SpaceFacts collect_space(const std::string& folder) {
  SpaceFacts facts{.path = folder, .kind = ""};
  struct statfs state {};
  if (folder.empty() || statfs(folder.c_str(), &state) != 0) return facts;
  facts.kind = file_system(static_cast<uint64_t>(state.f_type));
  facts.total_bytes = static_cast<int64_t>(state.f_blocks) * state.f_bsize;
  facts.free_bytes = static_cast<int64_t>(state.f_bavail) * state.f_bsize;
  facts.writable = access(folder.c_str(), W_OK) == 0;
  return facts;
}

std::map<std::string, std::string> variables_that_matter(const char* const* environment) {
  static constexpr const char* kPrefixes[] = {"OMPI_MCA_", "UCX_",          "NCCL_", "OMP_",    "GOMP_",  "KMP_",
                                              "PMI_",      "CUDA_VISIBLE_", "DNNL_", "ONEDNN_", "MALLOC_"};
  static constexpr const char* kNames[] = {"LD_PRELOAD",    "TMPDIR",       "HOME",         "SLURM_JOB_ID",
                                           "SLURM_STEP_ID", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_CPU_BIND_TYPE"};
  std::map<std::string, std::string> found;
  for (; *environment; ++environment) {
    const char* equals = std::strchr(*environment, '=');
    if (!equals) continue;
    const std::string name(*environment, equals);
    const auto begins = [&](const char* prefix) { return name.starts_with(prefix); };
    const auto is = [&](const char* other) { return name == other; };
    if (std::any_of(std::begin(kPrefixes), std::end(kPrefixes), begins) ||
        std::any_of(std::begin(kNames), std::end(kNames), is)) {
      found[name] = equals + 1;
    }
  }
  return found;
}

double measure_copy() {
  constexpr size_t kBytes = 32 << 20;  // beyond the caches that one core has to itself
  const std::vector<char> from(kBytes, 1);
  std::vector<char> to(kBytes);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const double start = thread_cpu_seconds();
    std::memcpy(to.data(), from.data(), kBytes);
    asm volatile("" : : "r"(to.data()) : "memory");  // the copy is not to be left out
    best = std::max(best, 2e-9 * kBytes / (thread_cpu_seconds() - start));
  }
  return best;
}

Facts collect(const SystemFiles& files, const char* const* environment) {
  Facts facts;
  facts.environment = variables_that_matter(environment);
  facts.cpu = collect_cpu(files, allowed_cpus());
  facts.cpu.gflops = measure_fma_peak(1, detect_cpu_level());
  facts.cpu.copy_gbps = measure_copy();
  facts.memory = collect_memory(files);
  const auto variable = [&](const char* name) {
    const auto it = facts.environment.find(name);
    return it == facts.environment.end() ? "" : it->second;
  };
  facts.shared_memory = collect_space("/dev/shm");
  const std::string temporary = variable("TMPDIR");
  facts.temporary = collect_space(temporary.empty() ? "/tmp" : temporary);
  facts.current = collect_space(".");
  facts.home = collect_space(variable("HOME"));
  facts.uptime_seconds = std::atof(files.line("/proc/uptime").c_str());
  facts.unix_seconds = wall_clock();
  facts.clock_is_kept = clock_is_kept();
  return facts;
}

}  // namespace longspan::doctor
