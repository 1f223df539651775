#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "launcher/doctor/topics.h"
#include "launcher/join.h"

namespace longspan::doctor {
namespace {

// What mpirun sets for its own use.
bool is_of_launcher(const std::string& name) {
  static constexpr const char* kPrefixes[] = {"OMPI_MCA_orte_",
                                              "OMPI_MCA_ess",
                                              "OMPI_MCA_pmix",
                                              "OMPI_MCA_plm",
                                              "OMPI_MCA_initial_",
                                              "OMPI_MCA_shmem_RUNTIME",
                                              "OMPI_MCA_mpi_oversubscribe",
                                              "OMPI_MCA_routed",
                                              "OMPI_MCA_schizo"};
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [&](const char* one) { return name.starts_with(one); });
}

bool begins_with_any(const std::string& name, std::initializer_list<const char*> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const char* one) { return name.starts_with(one); });
}

std::string listed(const Facts& facts, std::initializer_list<const char*> prefixes) {
  std::vector<std::string> texts;
  for (const auto& [name, value] : facts.environment) {
    if (begins_with_any(name, prefixes) && !is_of_launcher(name)) texts.push_back(name + "=" + value);
  }
  return join(texts, " ");
}

// Open MPI has no way around a list of transports without "self", and is slow within a host without shared memory.
std::optional<Remark> transports(const Facts& facts, size_t num_ranks) {
  const std::string list = variable(facts, "OMPI_MCA_btl");
  if (list.empty() || list.starts_with("^")) return {};
  const auto names = [&](const char* one) {
    return ("," + list + ",").find(fmt::format(",{},", one)) != std::string::npos;
  };
  if (!names("self")) {
    return Remark{Status::kError, "OMPI_MCA_btl=" + list + " leaves out self", "add it: ranks send to themselves, too"};
  }
  if (num_ranks > 1 && !names("vader") && !names("sm")) {
    return Remark{
        Status::kWarning, "OMPI_MCA_btl=" + list + " leaves out shared memory",
        "ranks of a host then talk through TCP, several times slower: add vader (Open MPI 5: sm), or unset it"};
  }
  return {};
}

std::optional<Remark> thread_variables(const Examination& found, const Facts& facts, const std::vector<int>& ranks) {
  const std::string binding = listed(facts, {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"});
  if (!binding.empty() && ranks.size() > 1) {
    return Remark{
        Status::kWarning, binding,
        "each rank pins its threads by itself, all to the same first CPUs unless ranks have CPUs of their own: unset"};
  }
  const std::string number = variable(facts, "OMP_NUM_THREADS");
  if (number.empty()) return {};
  const std::vector<int> threads = threads_of_host(found, ranks);
  const int share = *std::min_element(threads.begin(), threads.end());
  if (std::atoi(number.c_str()) > share) {
    return Remark{
        Status::kWarning, fmt::format("OMP_NUM_THREADS={}, but a rank's share of this host is {}", number, share),
        "longspan sets its own number (threads_per_rank, or that share); libraries beside it follow the variable: "
        "unset it"};
  }
  return Remark{Status::kNote, "OMP_NUM_THREADS=" + number,
                "longspan does not read it: threads_per_rank in the configuration"};
}

std::optional<Remark> thread_limit(const Facts& facts) {
  const std::string limit = listed(facts, {"OMP_THREAD_LIMIT", "OMP_DYNAMIC"});
  if (limit.empty()) return {};
  return Remark{Status::kWarning, limit, "kernels get fewer threads than they ask for: unset"};
}

std::optional<Remark> settings(const Facts& facts) {
  const std::string list = listed(facts, {"OMPI_MCA_", "UCX_", "DNNL_", "ONEDNN_", "MALLOC_"});
  if (list.empty()) return {};
  return Remark{Status::kNote, list,
                "set by you, a module or flags of mpirun, of which cluster/mpirun.sh has some; "
                "mpirun hands only OMPI_ variables to other hosts, others need -x NAME"};
}

std::optional<Remark> gpu_settings(const Facts& facts) {
  const std::string list = listed(facts, {"NCCL_", "CUDA_VISIBLE_"});
  if (list.empty()) return {};
  if (facts.cpu.cuda_gpus == kUnknown) return Remark{Status::kNote, list, "without effect: this program is built without CUDA"};
  return Remark{Status::kNote, list, "set by you, a module or the scheduler; for runs with device CUDA"};
}

std::optional<Remark> preload(const Facts& facts) {
  const std::string value = variable(facts, "LD_PRELOAD");
  if (value.empty()) return {};
  return Remark{Status::kNote, "LD_PRELOAD=" + value,
                "that library's code runs in every rank; unset it unless it is meant"};
}

std::optional<Remark> home(const Facts& facts) {
  if (facts.home.path.empty())
    return Remark{Status::kNote, "HOME is not set", "libraries that keep files there do without"};
  if (facts.home.writable == 1) return {};
  return Remark{Status::kNote, "HOME " + facts.home.path + " cannot be written",
                "libraries that keep files there do without"};
}

}  // namespace

void judge_environment(const Examination& found, Roll& roll) {
  roll.of_hosts(Topic::kEnvironment,
                [](const Facts& facts, const auto& ranks) { return transports(facts, ranks.size()); });
  roll.of_hosts(Topic::kEnvironment,
                [&](const Facts& facts, const auto& ranks) { return thread_variables(found, facts, ranks); });
  roll.of_hosts(Topic::kEnvironment, [](const Facts& facts, const auto&) { return thread_limit(facts); });
  roll.of_hosts(Topic::kEnvironment, [](const Facts& facts, const auto&) { return settings(facts); });
  roll.of_hosts(Topic::kEnvironment, [](const Facts& facts, const auto&) { return gpu_settings(facts); });
  roll.of_hosts(Topic::kEnvironment, [](const Facts& facts, const auto&) { return preload(facts); });
  roll.of_hosts(Topic::kEnvironment, [](const Facts& facts, const auto&) { return home(facts); });
}

}  // namespace longspan::doctor
