#include "launcher/run_commands.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>

#include "launcher/config_spec.h"
#include "launcher/context_choice.h"
#include "launcher/exit_status.h"
#include "launcher/plan_text.h"
#include "launcher/run_benchmark.h"
#include "launcher/run_verify.h"
#include "launcher/stop_signal.h"
#include "launcher/terminal.h"
#include "parallel/comm/backends.h"
#include "train/context_choice.h"
#include "train/formats/atomic_file.h"
#include "train/formats/huggingface.h"
#include "train/train.h"

namespace longspan {
namespace {

RankResources resources_of(const config::RunConfig& config, const Ranks& ranks) {
  const int share = ranks.world.share_of_threads();
  const auto asked = static_cast<int>(config.threads_per_rank());
  RankResources resources;
  resources.device = ranks.device.device;
  resources.cpu_level = ranks.settled.cpu_level;
  resources.num_threads = asked > 0 ? asked : share;
  resources.peak_flop_per_second = ranks.device.peak_flop_per_second;
  resources.memory_bytes = ranks.device.on_cpu() ? ranks.world.share_of_memory_bytes() : ranks.device.memory_bytes;
  return resources;
}

// What ranks compute on. Of threads: those of one host share its cores, and not every number divides.
std::string describe_threads(World& world, int num_threads) {
  const int64_t most = world.largest(num_threads), least = -world.largest(-num_threads);
  if (least != most) return fmt::format("{} to {} threads per rank", least, most);
  return fmt::format("{} thread{} per rank", most, most == 1 ? "" : "s");
}

// Beyond the positions that a model was trained for it still runs, but worse than it could. Stretching them is left to the
// folder, from which all of the model comes.
void note_trained_positions(const RunSpec& spec, ProgressPrinter& printer) {
  if (spec.model_folder.empty()) return;
  const HuggingFaceConfig model = read_huggingface_config(spec.model_folder);
  if (model.max_positions == 0 || spec.data.sequence_length <= model.max_positions) return;
  const bool stretched = model.spec.rope.scaling != RopeScalingType::kNone;
  const std::string note = fmt::format(
      "data.sequence_length is {}, but max_position_embeddings in {}/config.json is {}: {}", spec.data.sequence_length,
      spec.model_folder, model.max_positions,
      stretched ? "its rope_scaling is applied, to positions beyond these, too"
                : "positions beyond these are new to the model, and nothing stretches them; rope_scaling in that file would");
  LOG(INFO) << note;
  printer.on_note(note);
}

void note_placement(const MeshMap& map, ProgressPrinter& printer) {
  LOG(INFO) << format_mesh_map(map);
  if (map.stays_on_host(Axis::kTensor)) return;
  printer.on_note(
      fmt::format("mesh.tensor {} lies across hosts, and moves more than any other axis: lower it to {}, or start as many "
                  "ranks on each host",
                  map.shape().tensor, map.ranks_per_host(Axis::kTensor)));
}

int run_training(const config::RunConfig& config, const Ranks& ranks, const RunFolder& folder, RunObserver& observer) {
  World& world = ranks.world;
  const RunSpec spec = make_run_spec(config);
  const RankResources resources = resources_of(config, ranks);
  LOG(INFO) << "rank " << world.rank() << " of " << world.size() << " on " << world.host_name() << ", "
            << resources.num_threads << " threads" << (ranks.device.on_cpu() ? "" : ", ") << ranks.device.description;
  const std::string threads = describe_threads(world, resources.num_threads);
  const std::string computing = ranks.device.on_cpu() ? threads : fmt::format("{}, {}", ranks.device.description, threads);
  ProgressPrinter printer(progress_options(config.metrics().progress(), std::getenv));
  if (world.rank() == 0) {
    LOG(INFO) << "configuration:\n" << spec.resolved_configuration;
    printer.on_note(fmt::format("{}: {}, {}, in {}", spec.name, spec.mesh.to_string(), computing, folder.path));
    note_trained_positions(spec, printer);
    note_placement(MeshMap(spec.mesh, ranks.communicator.hosts()), printer);
    observer.print_with(&printer);
    for (const std::string& note : ranks.settled.notes) observer.on_note(note);
    observer.keep_configuration(folder.path + "/config.textproto", spec.resolved_configuration);
  }
  const TrainOutcome outcome = train(spec, ranks.communicator, resources, observer, stop_requested);
  const bool stopped = outcome == TrainOutcome::kStopped;
  const int code = stopped ? kExitStopped : kExitDone;
  if (world.rank() == 0) {
    const std::string reason = stopped ? "stopped on request after a checkpoint; start again to continue" : "done";
    printer.on_note(reason);
    claim_exit_status(folder.path, {code, reason, 0, world.host_name(), observer.last_step()});
  }
  return code;
}

// One line per document, for other programs: bits per byte, tokens, name.
void write_documents(const std::string& path, const EvaluationResult& result) {
  std::string text;
  for (const DocumentLoss& document : result.documents) {
    text += fmt::format("{:.6f}\t{}\t{}\n", document.bits_per_byte(), document.tokens, document.name);
  }
  write_file_atomically(path, text, ErrorKind::kResource);
}

int run_evaluation(const config::RunConfig& config, const Ranks& ranks, RunObserver& observer) {
  const World& world = ranks.world;
  const RunSpec spec = make_run_spec(config);
  const RankResources resources = resources_of(config, ranks);
  ProgressPrinter printer(progress_options(config.metrics().progress(), std::getenv));
  if (world.rank() == 0) {
    observer.print_with(&printer);
    for (const std::string& note : ranks.settled.notes) observer.on_note(note);
  }
  const EvaluationResult result = evaluate(spec, ranks.communicator, resources, observer);
  if (world.rank() != 0) return kExitDone;
  std::cout << "step " << result.report.step << " | " << format_evaluation(result.report) << std::endl;
  if (!spec.output_directory.empty() && std::filesystem::is_directory(spec.output_directory)) {
    const std::string path = spec.output_directory + "/evaluation.tsv";
    write_documents(path, result);
    std::cout << "each document: " << path << std::endl;
  }
  return kExitDone;
}

int run_generation(const config::RunConfig& config, const RankResources& resources) {
  const bool text = config.data().format() == config::Data::TEXT;
  generate(make_run_spec(config), resources, [text](int32_t token) {
    if (text) {
      std::cout.put(static_cast<char>(token));
    } else {
      std::cout << token << ' ';
    }
    std::cout.flush();
  });
  std::cout << std::endl;
  return kExitDone;
}

// Neighbours on the context axis that are on one host.
int context_ranks_per_host(World& world, const MeshShape& mesh) {
  if (world.alone()) return mesh.context;  // ranks are threads
  return MeshMap(mesh, world.communicator().hosts()).ranks_per_host(Axis::kContext);
}

void settle_context(Command command, config::RunConfig& config, const Ranks& ranks, std::vector<std::string>& notes) {
  const int per_host = context_ranks_per_host(ranks.world, make_run_spec(config).mesh);
  const auto choose = [&]() -> ContextChoice {
    const RunSpec spec = make_run_spec(config);
    RankResources resources = resources_of(config, ranks);
    // Which scheme fits is asked for a step of training: an evaluation keeps nothing for backward.
    if (command == Command::kEvaluate) resources.memory_bytes = 0;
    SchemeChoice choice;
    if (spec.mesh.num_ranks() == ranks.world.size()) {
      choice = choose_context_scheme(spec, ranks.communicator, resources, per_host);
    } else {  // verify's ranks, which are threads
      resources.num_threads = 1;
      std::mutex mutex;
      run_in_process(spec.mesh.num_ranks(), [&](Communicator& threads) {
        const auto staging = make_staging_communicator(threads);
        SchemeChoice mine = choose_context_scheme(spec, *staging, resources, per_host);
        const std::lock_guard lock(mutex);
        choice = std::move(mine);
      });
    }
    return {.scheme = choice.best().scheme, .group_ranks = choice.best().inner, .reason = choice.reason};
  };
  Communicator& world = ranks.world.communicator();
  const std::string note = longspan::settle_context(config, per_host, ranks.continued_context, world, choose);
  if (!note.empty()) notes.push_back(note);
}

int run_verifications(const config::RunConfig& given, const config::RunConfig& settled, const Ranks& ranks,
                      const RankResources& resources) {
  config::RunConfig config = settled;
  const std::vector<config::Context> contexts = contexts_to_verify(given, settled);
  for (const config::Context& context : contexts) {
    *config.mutable_context() = context;
    const int code = run_verify(config, ranks.world, ranks.communicator, resources, std::cout);
    if (code != kExitDone) return code;
  }
  if (contexts.size() > 1 && ranks.world.rank() == 0) {
    std::cout << fmt::format("context.scheme: all {} that AUTO may take agree with one rank\n", contexts.size()) << std::flush;
  }
  return kExitDone;
}

void create_output_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) raise(ErrorKind::kResource, "output_directory: cannot create the folder {}: {}", path, error.message());
}

}  // namespace

RunFolder prepare_folder(Command command, const config::RunConfig& config, const World& world) {
  if (command != Command::kTrain) return {};
  RunFolder folder{.path = config.output_directory(), .lock = {}};
  create_output_folder(folder.path);
  if (world.rank() == 0) {
    folder.lock = FolderLock::take(folder.path, world.host_name());
    clear_exit_status(folder.path);
  }
  create_output_folder(folder.path + "/log");
  return folder;
}

void start_logs(const RunFolder& folder, int rank) {
  if (folder.path.empty()) return start_log_without_files();
  start_log_files(folder.path + "/log", rank);
}

int run(const CommandLine& line, const config::RunConfig& given, const Ranks& met, const RunFolder& folder,
        RunObserver& observer) {
  config::RunConfig config = given;
  SettledChoices settled = met.settled;
  const Ranks ranks{settled, met.device, met.world, met.communicator, met.continued_context};
  if (line.command != Command::kGenerate && line.command != Command::kBench) {
    settle_context(line.command, config, ranks, settled.notes);
  }
  switch (line.command) {
    case Command::kTrain: return run_training(config, ranks, folder, observer);
    case Command::kEvaluate: return run_evaluation(config, ranks, observer);
    case Command::kGenerate:
    case Command::kVerify:
    case Command::kBench: break;
    case Command::kPlan:
    case Command::kDoctor: return kExitInternal;  // need no ranks, and do not come here
  }
  // What these print on standard output is their result.
  if (ranks.world.rank() == 0) {
    for (const std::string& note : ranks.settled.notes) std::cerr << note << std::endl;
  }
  const RankResources resources = resources_of(config, ranks);
  if (line.command == Command::kBench) return run_benchmark(line.bench_name, config, resources, ranks.communicator, std::cout);
  if (line.command == Command::kGenerate) return run_generation(config, resources);
  return run_verifications(given, config, ranks, resources);
}

}  // namespace longspan
