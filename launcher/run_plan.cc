#include "launcher/run_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "core/runtime/cuda.h"
#include "launcher/config_file.h"
#include "launcher/config_spec.h"
#include "launcher/control_groups.h"
#include "launcher/exit_status.h"
#include "launcher/host_memory.h"
#include "launcher/host_threads.h"
#include "launcher/peak.h"
#include "launcher/plan_text.h"
#include "launcher/precision.h"
#include "launcher/rank_device.h"
#include "launcher/world.h"
#include "train/formats/huggingface.h"

namespace longspan {
namespace {

constexpr int kRanksOfAHost = 8;  // of hosts that are not here: most have as many GPUs

RunSpec spec_of(config::RunConfig& config, std::string& notes) {
  if (config.precision() == config::Precision::AUTO) {
    const SettledPrecision chosen = choose_precision(config.device(), cpu_level_of(config), std::nullopt);
    config.set_precision(chosen.precision);
    notes += chosen.note + "\n";
  }
  return make_run_spec(config);
}

// What the ranks would compute with; of another host than this one it is taken to be the same.
struct Machine {
  Processor processor = {};
  int64_t memory_bytes = 0;  // of a rank; 0: not known
  PlanRate rate = {};
};

Machine gpu_machine() {
  Machine machine{.processor = {.device = DeviceType::kCuda}};
  if (num_cuda_devices() == 0) return machine;
  const CudaDeviceFacts gpu = cuda_device_facts(0);
  machine.memory_bytes = gpu.free_bytes;
  machine.rate = {datasheet_peak(gpu.name), fmt::format("the data sheet's for {}", gpu.name)};
  return machine;
}

double measured_peak(CpuLevel level, DType dtype) {
  if (dtype != DType::kBFloat16 || level < CpuLevel::kAvx512Bf16) return 1e9 * measure_fma_peak(1, level);
  return 1e9 * (level == CpuLevel::kAmx ? measure_amx_peak(1, AmxOperands::kRegisters) : measure_dot_peak(1));
}

// The ranks that are here, if any: by rank, where they are; of the one that has least, the threads and the memory.
struct RanksHere {
  std::vector<int> hosts = {};
  int threads = 0;
  int64_t memory_bytes = 0;
};

int most_on_a_host(const std::vector<int>& hosts) {
  std::map<int, int> ranks;
  int most = 0;
  for (const int host : hosts) most = std::max(most, ++ranks[host]);
  return most;
}

// Of ranks that are not here: what the CPUs and the memory that this process may use are to as many as share a host.
RanksHere taken_to_be(const std::vector<int>& hosts) {
  const int together = most_on_a_host(hosts);
  const std::vector<CpuMask> masks(static_cast<size_t>(together), own_cpu_mask());
  return {.hosts = hosts, .threads = threads_of_rank(masks, 0, cpu_quota()), .memory_bytes = host_memory_bytes() / together};
}

Machine cpu_machine(const config::RunConfig& config, const RunSpec& spec, const RanksHere& ranks, bool are_here) {
  const CpuLevel level = cpu_level_of(config);
  Machine machine{.processor = {.level = level}, .memory_bytes = ranks.memory_bytes};
  const auto asked = static_cast<int>(config.threads_per_rank());
  const int threads = asked > 0 ? asked : ranks.threads;
  std::string whose = "of the rank with fewest";
  if (!are_here) whose = fmt::format("if those of a host share the {} CPUs of this process", own_cpu_mask().count());
  if (asked > 0) whose = "as threads_per_rank says";
  machine.rate = {threads * measured_peak(level, spec.compute_dtype),
                  fmt::format("{} thread{} a rank ({}) at the peak of a core here ({}), measured now", threads,
                              threads == 1 ? "" : "s", whose, name(level))};
  return machine;
}

// Groups of ranks that nobody named are those of a host; AUTO goes by rates that a run measures.
void settle_scheme(const config::RunConfig& config, const std::vector<int>& hosts, RunSpec& spec, std::string& notes) {
  if (config.context().scheme() == config::Context::AUTO && spec.mesh.context > 1) {
    notes += "context.scheme: AUTO goes by what a run measures; planned is RING\n";
  }
  if (!is_grouped(spec.context.scheme)) return;
  const int per_host = MeshMap(spec.mesh, hosts).ranks_per_host(Axis::kContext), ranks = spec.mesh.context;
  const int64_t heads = spec.model.num_heads / spec.mesh.tensor;
  int& group = spec.context.group_ranks;
  if (group == 0) group = group_of_host(spec.context.scheme, ranks, per_host, heads);
  const std::string note = group_note(spec.context.scheme, group, ranks, per_host, heads);
  if (!note.empty()) notes += note + "\n";
}

RanksHere ranks_here(const CommandLine& line, Launch launch, bool& answers) {
  answers = true;
  if (launch == Launch::kAlone) return {};
  if (line.world > 0) {
    answers = is_first_process(std::getenv);
    return {};
  }
  World world(launch, kDefaultTimeout);
  answers = world.rank() == 0;
  // Bound ranks have CPUs of their own, which differ.
  return {.hosts = world.communicator().hosts(),
          .threads = static_cast<int>(-world.largest(-world.share_of_threads())),
          .memory_bytes = -world.largest(-world.share_of_memory_bytes())};
}

bool gives_mesh(const config::Mesh& mesh) {
  return mesh.has_pipeline() || mesh.has_data() || mesh.has_context() || mesh.has_tensor();
}

}  // namespace

int run_plan(const CommandLine& line, Launch launch, std::ostream& out) {
  bool answers = true;
  RanksHere ranks = ranks_here(line, launch, answers);
  const bool are_here = !ranks.hosts.empty();
  if (!answers) return kExitDone;
  LoadedConfig loaded = load_config(line.config, line.overrides);
  std::string notes;
  if (!gives_mesh(loaded.config.mesh())) {
    notes += "no mesh is given: context takes all ranks, the axis that asks nothing of the batch and of the model\n";
  }
  const int num_ranks = static_cast<int>(are_here ? static_cast<int64_t>(ranks.hosts.size()) : line.world);
  resolve(loaded, {.command = Command::kPlan,
                   .num_ranks = num_ranks,
                   .ranks = ConfigTarget::Ranks::kPlanned,
                   .read_model = [](const std::string& path) { return read_huggingface_config(path).spec; }});
  RunSpec spec = spec_of(loaded.config, notes);
  if (!are_here) {
    ranks = taken_to_be(equal_hosts(spec.mesh.num_ranks(), kRanksOfAHost));
    if (ranks.hosts.back() > 0) {
      notes += fmt::format("hosts of {} ranks each are assumed, all of them like this one\n", kRanksOfAHost);
    }
  }
  settle_scheme(loaded.config, ranks.hosts, spec, notes);
  const bool on_gpu = loaded.config.device() == config::RunConfig::CUDA;
  const Machine machine = on_gpu ? gpu_machine() : cpu_machine(loaded.config, spec, ranks, are_here);
  const StepPlan plan = plan_step(spec, {.host_of_rank = ranks.hosts,
                                         .processor = machine.processor,
                                         .memory_bytes = machine.memory_bytes});
  out << notes << format_plan(spec, plan, machine.memory_bytes, machine.rate) << std::flush;
  return plan.problem.empty() ? kExitDone : exit_code(ErrorKind::kResource);
}

}  // namespace longspan
