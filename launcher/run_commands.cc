#include "launcher/run_commands.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>

#include "launcher/bench_attention.h"
#include "launcher/bench_ring.h"
#include "launcher/config_spec.h"
#include "launcher/exit_status.h"
#include "launcher/run_verify.h"
#include "launcher/stop_signal.h"
#include "launcher/terminal.h"
#include "train/formats/atomic_file.h"
#include "train/formats/huggingface.h"
#include "train/train.h"

namespace longspan {
namespace {

CpuLevel cpu_level_of(const config::RunConfig& config) {
  if (config.cpu().level() == config::Cpu::AUTO) return detect_cpu_level();
  const auto level = static_cast<CpuLevel>(config.cpu().level() - config::Cpu::PORTABLE);
  expect_runs_here(level);
  return level;
}

RankResources resources_of(const config::RunConfig& config, World& world) {
  const int share = world.share_of_threads();
  const auto asked = static_cast<int>(config.threads_per_rank());
  RankResources resources;
  resources.cpu_level = cpu_level_of(config);
  resources.num_threads = asked > 0 ? asked : share;
  resources.memory_bytes = world.share_of_memory_bytes();
  return resources;
}

// Of all ranks: those of one host share its cores, and not every number divides.
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

int run_training(const config::RunConfig& config, World& world, const RunFolder& folder, RunObserver& observer) {
  const RunSpec spec = make_run_spec(config);
  const RankResources resources = resources_of(config, world);
  LOG(INFO) << "rank " << world.rank() << " of " << world.size() << " on " << world.host_name() << ", "
            << resources.num_threads << " threads";
  const std::string threads = describe_threads(world, resources.num_threads);
  ProgressPrinter printer(progress_options(config.metrics().progress(), std::getenv));
  if (world.rank() == 0) {
    LOG(INFO) << "configuration:\n" << spec.resolved_configuration;
    printer.on_note(fmt::format("{}: {}, {}, in {}", spec.name, spec.mesh.to_string(), threads, folder.path));
    note_trained_positions(spec, printer);
    observer.print_with(&printer);
    observer.keep_configuration(folder.path + "/config.textproto", spec.resolved_configuration);
  }
  const TrainOutcome outcome = train(spec, world.communicator(), resources, observer, stop_requested);
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

int run_evaluation(const config::RunConfig& config, World& world, RunObserver& observer) {
  const RunSpec spec = make_run_spec(config);
  const RankResources resources = resources_of(config, world);
  ProgressPrinter printer(progress_options(config.metrics().progress(), std::getenv));
  if (world.rank() == 0) observer.print_with(&printer);
  const EvaluationResult result = evaluate(spec, world.communicator(), resources, observer);
  if (world.rank() != 0) return kExitDone;
  std::cout << "step " << result.report.step << " | " << format_evaluation(result.report) << std::endl;
  if (!spec.output_directory.empty() && std::filesystem::is_directory(spec.output_directory)) {
    const std::string path = spec.output_directory + "/evaluation.tsv";
    write_documents(path, result);
    std::cout << "each document: " << path << std::endl;
  }
  return kExitDone;
}

int run_generation(const config::RunConfig& config, World& world) {
  const bool text = config.data().format() == config::Data::TEXT;
  generate(make_run_spec(config), resources_of(config, world), [text](int32_t token) {
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

// What is set narrows the cases down; the length alone may be any. One thread unless asked for more: it is timed by its CPU
// time, which other work on the machine does not distort.
BenchAttentionOptions bench_attention_options(const config::RunConfig& config) {
  BenchAttentionOptions options;
  options.level = cpu_level_of(config);
  if (config.threads_per_rank() > 0) options.num_threads = static_cast<int>(config.threads_per_rank());
  const DType dtype = config.precision() == config::RunConfig::BF16 ? DType::kBFloat16 : DType::kFloat32;
  std::vector<BenchAttentionOptions::Case> cases;
  for (BenchAttentionOptions::Case one : options.cases) {
    if (config.has_precision() && one.dtype != dtype) continue;
    if (config.model().has_head_dim()) one.head_dim = config.model().head_dim();
    if (config.data().has_sequence_length()) one.num_tokens = config.data().sequence_length();
    const auto same = [&](const auto& other) {
      return other.dtype == one.dtype && other.head_dim == one.head_dim && other.num_tokens == one.num_tokens;
    };
    if (std::none_of(cases.begin(), cases.end(), same)) cases.push_back(one);
  }
  options.cases = cases;
  return options;
}

BenchRingOptions bench_ring_options(const config::RunConfig& config, int num_threads) {
  BenchRingOptions options{.num_threads = num_threads};
  options.level = cpu_level_of(config);
  const config::Model& model = config.model();
  if (model.has_head_dim()) options.head_dim = model.head_dim();
  if (model.has_num_heads()) options.num_heads = options.num_kv_heads = model.num_heads();
  if (model.has_num_kv_heads()) options.num_kv_heads = model.num_kv_heads();
  if (config.data().has_sequence_length()) options.num_tokens = config.data().sequence_length();
  return options;
}

int run_benchmark(const std::string& name, const config::RunConfig& config, World& world) {
  if (name == "ring") {
    const BenchRingOptions options = bench_ring_options(config, resources_of(config, world).num_threads);
    bench_ring(options, world.communicator(), std::cout);
  } else {
    bench_attention(bench_attention_options(config), std::cout);
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

int run(const CommandLine& line, const config::RunConfig& config, World& world, const RunFolder& folder,
        RunObserver& observer) {
  switch (line.command) {
    case Command::kTrain: return run_training(config, world, folder, observer);
    case Command::kEvaluate: return run_evaluation(config, world, observer);
    case Command::kGenerate: return run_generation(config, world);
    case Command::kVerify: return run_verify(config, world, resources_of(config, world), std::cout);
    case Command::kBench: return run_benchmark(line.bench_name, config, world);
    case Command::kDoctor: break;  // has no configuration, and does not come here
  }
  return kExitInternal;
}

}  // namespace longspan
