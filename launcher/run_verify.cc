#include "launcher/run_verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <iostream>

#include "core/base/cpu_level.h"
#include "launcher/config_spec.h"
#include "launcher/exit_status.h"
#include "launcher/join.h"
#include "launcher/stop_signal.h"
#include "parallel/comm/backends.h"
#include "train/rank_context.h"
#include "train/verify.h"
#include "train/verify_shape.h"

namespace longspan {
namespace {

std::string describe(const RunSpec& run, const RunSpec& small, bool threads) {
  std::string text = fmt::format("{}: {}, {}, {}\n", run.name, run.mesh.to_string(), name(run.layout),
                                 run.data.packing == Packing::kDocuments ? "documents apart" : "one stream of text");
  if (run.mesh.context > 1) text += fmt::format("context.scheme: {}\n", describe(run.context.scheme, group_ranks(run)));
  if (run.mesh.pipeline > 1) {
    text += fmt::format("pipeline.schedule: {}, {} chunk{} a stage, {} a sequence\n", name(run.pipeline.schedule),
                        run.pipeline.chunks_per_stage, run.pipeline.chunks_per_stage == 1 ? "" : "s",
                        run.pipeline.sequence_chunks);
  }
  if (run.sharding != RunSpec::Sharding::kNone && run.mesh.data * run.mesh.context > 1) {
    constexpr const char* kStates[] = {"NONE", "OPTIMIZER", "GRADIENTS", "WEIGHTS"};
    text += fmt::format("sharding.state: {}\n", kStates[static_cast<int>(run.sharding)]);
  }
  if (threads && run.mesh.num_ranks() > 1) {
    text +=
        fmt::format("its {} ranks are threads of this process, which compute the same numbers\n", run.mesh.num_ranks());
  }
  if (run.mesh.num_ranks() == 1) {
    text += "this mesh is one rank, so little can differ; try one with --set mesh.context=4, or start under mpirun\n";
  }
  const std::vector<std::string> shrunk = what_was_shrunk(run, small);
  if (!shrunk.empty()) text += fmt::format("shrunk: {}\n", join(shrunk, ", "));
  return text + "random weights and documents, made from the seed\n";
}

std::string kernels_of(DType dtype, const RankResources& resources) {
  const std::string backend =
      (resources.kernels ? resources.kernels : kernels_for(dtype, resources.cpu_level, resources.device))->backend();
  return fmt::format("{} kernels{}", backend,
                     backend == "cpu" ? fmt::format(" ({})", name(resources.cpu_level)) : std::string());
}

VerifyReport compare(const OneRank& one_rank, const RunSpec& small, bool alone, Communicator& ranks,
                     const RankResources& resources, std::chrono::milliseconds timeout) {
  const int num_ranks = small.mesh.num_ranks();
  if (!alone || num_ranks == 1) return one_rank.compare(ranks, resources);
  RankResources share = resources;
  share.num_threads = std::max(1, resources.num_threads / num_ranks);
  share.memory_bytes = resources.memory_bytes / num_ranks;
  VerifyReport report;
  run_in_process(
      num_ranks,
      [&](Communicator& threads) {
        const auto staging = make_staging_communicator(threads);  // where all share one device
        VerifyReport mine = one_rank.compare(*staging, share);
        if (threads.rank() == 0) report = std::move(mine);
      },
      timeout);
  return report;
}

std::atomic<const SyntheticDocuments*> on_disk = nullptr;

// A signal ends verify without unwinding, and so would leave the documents behind.
class RemovedBySignals {
 public:
  explicit RemovedBySignals(const SyntheticDocuments& documents) {
    on_disk = &documents;
    before_end_by_signal([] {
      if (const SyntheticDocuments* left = on_disk) left->remove();
    });
  }
  ~RemovedBySignals() { on_disk = nullptr; }
  RemovedBySignals(const RemovedBySignals&) = delete;
  RemovedBySignals& operator=(const RemovedBySignals&) = delete;
};

}  // namespace

int run_verify(const config::RunConfig& config, World& world, Communicator& ranks, const RankResources& own,
               std::ostream& out) {
  using Clock = std::chrono::steady_clock;
  const bool speaks = world.rank() == 0;
  const RunSpec run = make_run_spec(config);
  RunSpec small = shrunk(run);
  small.bucket_elements = 4096;  // so that also so small a model has several
  const SyntheticDocuments documents(small, std::filesystem::temp_directory_path());
  const RemovedBySignals removed(documents);
  small.data.sources = {{.files = {documents.folder()}}};
  if (speaks) out << describe(run, small, world.alone()) << std::flush;
  const std::chrono::seconds timeout(config.communication().timeout_seconds());
  int64_t num_tensors = 0;
  for (const DType dtype : verify_precisions(run.compute_dtype)) {
    const auto begin = Clock::now();
    const bool on_host = dtype == DType::kFloat64;
    RankResources resources = own;
    if (on_host) resources.device = {};
    if (on_host) resources.memory_bytes = world.share_of_memory_bytes();
    const OneRank one_rank(small, dtype, resources);
    const VerifyReport report =
        compare(one_rank, small, world.alone(), on_host ? world.communicator() : ranks, resources, timeout);
    num_tensors = report.num_tensors;
    if (speaks) {
      out << fmt::format("{}: largest difference {:.2g}, in {}; allowed is {:.2g}; {}; {:.1f} s\n", name(dtype), report.largest,
                         report.where, verify_tolerance(dtype, resources.processor()), kernels_of(dtype, resources),
                         std::chrono::duration<double>(Clock::now() - begin).count())
          << std::flush;
    }
    if (report.difference.empty()) continue;
    if (speaks) std::cerr << fmt::format("longspan: verify, {}: {}\n", name(dtype), report.difference) << std::flush;
    return exit_code(ErrorKind::kNumerical);
  }
  if (!speaks) return kExitDone;
  out << fmt::format("verify: {} tensors on {} ranks agree with one rank\n", num_tensors, small.mesh.num_ranks())
      << std::flush;
  return kExitDone;
}

}  // namespace longspan
