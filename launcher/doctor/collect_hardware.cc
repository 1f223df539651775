#include <fmt/format.h>
#include <oneapi/dnnl/dnnl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <sstream>

#include "core/base/cpu_level.h"
#include "core/kernels/backends.h"
#include "core/runtime/cuda.h"
#include "launcher/control_groups.h"
#include "launcher/doctor/collect.h"

namespace longspan::doctor {
namespace {

constexpr const char* kCpus = "/sys/devices/system/cpu";
constexpr const char* kNodes = "/sys/devices/system/node";

std::vector<std::string> instructions(const SystemFiles& files) {
  static constexpr const char* kThatMatter[] = {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16"};
  std::istringstream words(files.value("/proc/cpuinfo", "flags") + " " + files.value("/proc/cpuinfo", "Features"));
  const std::set<std::string> all{std::istream_iterator<std::string>(words), std::istream_iterator<std::string>()};
  std::vector<std::string> found;
  for (const char* name : kThatMatter) {
    if (all.contains(name)) found.push_back(name);
  }
  return found;
}

std::string onednn_version() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("{}.{}.{}", version->major, version->minor, version->patch);
}

int64_t num_gpus(const SystemFiles& files) {
  int64_t devices = 0;
  for (const std::string& name : files.names("/dev")) {
    if (name.starts_with("nvidia") && name.size() > 6 && std::isdigit(static_cast<unsigned char>(name[6]))) ++devices;
  }
  return std::max(devices, static_cast<int64_t>(files.names("/proc/driver/nvidia/gpus").size()));
}

int64_t kilobytes(const SystemFiles& files, const char* name) {
  std::istringstream words(files.value("/proc/meminfo", name));
  int64_t number = 0;
  return words >> number ? number * 1024 : kUnknown;
}

int64_t soft_limit(decltype(RLIMIT_AS) resource) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0) return kUnknown;
  return limit.rlim_cur == RLIM_INFINITY ? kUnlimited : static_cast<int64_t>(limit.rlim_cur);
}

// "always [madvise] never"
std::string chosen_word(const std::string& line) {
  const size_t begin = line.find('['), end = line.find(']', begin);
  return end == std::string::npos ? "" : line.substr(begin + 1, end - begin - 1);
}

}  // namespace

CpuFacts collect_cpu(const SystemFiles& files, const std::vector<int>& allowed) {
  CpuFacts facts;
  facts.model = files.value("/proc/cpuinfo", "model name");
  facts.level = name(detect_cpu_level());
  facts.instructions = instructions(files);
  facts.onednn = onednn_version();
  const std::vector<int> online = parse_cpu_list(files.line(std::string(kCpus) + "/online"));
  if (!online.empty()) facts.online = static_cast<int64_t>(online.size());
  facts.allowed = allowed;
  for (const int cpu : allowed) {
    const auto siblings = parse_cpu_list(files.line(fmt::format("{}/cpu{}/topology/thread_siblings_list", kCpus, cpu)));
    facts.cores.push_back(siblings.empty() ? cpu : siblings.front());
  }
  for (const std::string& name : files.names(kNodes)) {
    const std::vector<int> node = parse_cpu_list(name.starts_with("node") ? name.substr(4) : "");
    if (node.size() != 1) continue;
    const auto cpus = parse_cpu_list(files.line(fmt::format("{}/{}/cpulist", kNodes, name)));
    const auto is_allowed = [&](int cpu) { return std::find(allowed.begin(), allowed.end(), cpu) != allowed.end(); };
    if (std::any_of(cpus.begin(), cpus.end(), is_allowed)) facts.nodes.push_back(node.front());
  }
  std::sort(facts.nodes.begin(), facts.nodes.end());
  facts.quota = cpu_quota(files);
  facts.gpus = num_gpus(files);
  if (has_cuda()) facts.cuda_gpus = num_cuda_devices();
  return facts;
}

MemoryFacts collect_memory(const SystemFiles& files) {
  MemoryFacts facts;
  facts.total_bytes = kilobytes(files, "MemTotal");
  facts.available_bytes = kilobytes(files, "MemAvailable");
  facts.swap_bytes = kilobytes(files, "SwapTotal");
  facts.group_limit_bytes = memory_limit(files);
  facts.huge_pages = chosen_word(files.line("/sys/kernel/mm/transparent_hugepage/enabled"));
  facts.lock_bytes = soft_limit(RLIMIT_MEMLOCK);
  facts.files = soft_limit(RLIMIT_NOFILE);
  facts.address_bytes = soft_limit(RLIMIT_AS);
  facts.stack_bytes = soft_limit(RLIMIT_STACK);
  facts.rdma_devices = static_cast<int64_t>(files.names("/sys/class/infiniband").size());
  return facts;
}

}  // namespace longspan::doctor
