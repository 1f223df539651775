#include "launcher/commands.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <iostream>
#include <optional>

#include "launcher/config_spec.h"
#include "launcher/context_choice.h"
#include "launcher/exit_status.h"
#include "launcher/plot.h"
#include "launcher/precision.h"
#include "launcher/rank_device.h"
#include "launcher/run_commands.h"
#include "train/formats/huggingface.h"

namespace longspan {
namespace {

// Ranks that read the same mistake in the same file fail within moments of each other; a rank that fails alone must not
// keep the others waiting longer than this.
constexpr std::chrono::milliseconds kPatience{1500};

LoadedConfig load(const CommandLine& line) {
  if (line.config.empty()) return parse_config("", "no configuration", line.overrides);
  return load_config(line.config, line.overrides);
}

std::chrono::milliseconds timeout_of(const LoadedConfig& loaded) {
  const int64_t seconds = loaded.config.communication().timeout_seconds();
  // A value out of range is refused once all ranks have met; until then the default serves.
  if (seconds < 1 || seconds > 86400) return kDefaultTimeout;
  return std::chrono::seconds(seconds);
}

// One line of the message at a time, so that each stands for itself in a log.
void print_failure(const std::string& prefix, const std::string& message) {
  std::string text;
  for (size_t begin = 0; begin <= message.size();) {
    const size_t end = std::min(message.find('\n', begin), message.size());
    text += prefix + message.substr(begin, end - begin) + "\n";
    begin = end + 1;
  }
  std::cerr << text << std::flush;
}

// Whether the exit status in the folder of this run is ours to write: not while another run is at work there.
bool owns_exit_status(const CommandLine& line, const std::string& path, const RunFolder& folder, World& world) {
  if (line.command != Command::kTrain) return false;
  FolderLock lock;
  bool owner = false;
  if (world.rank() == 0 && is_run_directory(path)) {
    if (!folder.lock.held()) lock = FolderLock::try_take(path, world.host_name());
    owner = folder.lock.held() || lock.held();
    if (owner) clear_exit_status(path);
  }
  return world.largest(owner ? 1 : 0) != 0;
}

// A failure before anything ran. The lowest rank that has one speaks for all.
int end_before_start(const CommandLine& line, const LoadedConfig& loaded, const RunFolder& folder,
                     const std::exception_ptr& problem, World& world) {
  const Failure failure = problem ? describe(problem) : Failure{};
  const int64_t speaker = -world.largest(problem ? -world.rank() : -world.size());
  const int code = static_cast<int>(world.largest(problem ? failure.code : 0));
  const std::string& path = loaded.config.output_directory();
  const bool owner = owns_exit_status(line, path, folder, world);
  if (world.rank() != speaker) return code;
  print_failure("longspan: ", failure.message);
  if (owner) claim_exit_status(path, {failure.code, failure.message, world.rank(), world.host_name(), 0});
  return code;
}

// A failure while running: on this rank alone, on all, or because of a peer.
int end_failed(World& world, const RunFolder& folder, int64_t step, const Failure& failure) {
  if (google::IsGoogleLoggingInitialized()) {
    LOG(INFO) << "failed with exit code " << failure.code << ": " << failure.message;
  }
  Claim claim = Claim::kImpossible;
  if (!folder.path.empty()) {
    claim = claim_exit_status(folder.path, {failure.code, failure.message, world.rank(), world.host_name(), step});
  }
  const bool together = world.all_ranks_fail(kPatience);
  if (claim == Claim::kFirst || (claim == Claim::kImpossible && (world.rank() == 0 || !together))) {
    const std::string rank = fmt::format("rank {} on {}: ", world.rank(), world.host_name());
    print_failure("longspan: " + (world.size() == 1 ? "" : rank), failure.message);
  }
  google::FlushLogFiles(google::INFO);
  if (!together) world.abort(failure.code);
  return failure.code;
}

// Runs `body` on every rank; true if it went well on all of them.
template <class Body>
bool all_succeed(World& world, std::exception_ptr& problem, const Body& body) {
  if (!problem) {
    try {
      body();
    } catch (...) {
      problem = std::current_exception();
    }
  }
  return world.largest(problem ? 1 : 0) == 0;
}

// One rank is enough, or as many as are started.
bool takes_many_ranks(const CommandLine& line) {
  return line.command != Command::kGenerate && (line.command != Command::kBench || line.bench_name == "ring");
}

int run_together(const CommandLine& line, LoadedConfig& loaded, std::exception_ptr problem, World& world,
                 RunFolder& folder, RunObserver& observer) {
  const auto prepare = [&] {
    if (world.size() > 1 && !takes_many_ranks(line)) {
      raise(ErrorKind::kConfiguration, "this command runs on one rank, but {} were started: leave out mpirun or srun",
            world.size());
    }
    using Ranks = ConfigTarget::Ranks;
    const bool threads = line.command == Command::kVerify && world.alone();
    const auto read_model = [](const std::string& path) { return read_huggingface_config(path).spec; };
    resolve(loaded, {.command = line.command,
                     .num_ranks = world.size(),
                     .ranks = threads ? Ranks::kThreads : Ranks::kProcesses,
                     .bench = line.bench_name,
                     .read_model = read_model});
    ConfigProblems machine(loaded.origins);
    check_level(loaded.config, supported_cpu_levels(), machine);
    machine.raise_if_any();
  };
  if (!all_succeed(world, problem, prepare)) return end_before_start(line, loaded, folder, problem, world);
  RankDevice device;
  const auto choose_device = [&] { device = choose_rank_device(loaded.config, loaded.origins, world); };
  if (!all_succeed(world, problem, choose_device)) return end_before_start(line, loaded, folder, problem, world);
  const auto open_folder = [&] { folder = prepare_folder(line.command, loaded.config, world); };
  if (!all_succeed(world, problem, open_folder)) return end_before_start(line, loaded, folder, problem, world);
  std::optional<config::Precision::Type> continued;
  std::optional<config::Context> continued_scheme;
  const auto look_back = [&] {
    if (world.rank() != 0) return;
    continued = continued_precision(loaded.config, line.command);
    continued_scheme = continued_context(loaded.config, line.command);
  };
  if (!all_succeed(world, problem, look_back)) return end_before_start(line, loaded, folder, problem, world);
  SettledChoices settled =
      settle_choices(loaded.config, line.command, cpu_level_of(loaded.config), continued, world.communicator());
  if (!device.note.empty()) settled.notes.insert(settled.notes.begin(), device.note);
  const std::unique_ptr<Communicator> between_devices = connect_devices(device, loaded.config, world);
  // Ranks that share a GPU see it fill; all are to judge alike whether a run fits.
  if (!device.on_cpu()) device.memory_bytes = -world.largest(-device.memory_bytes);
  start_logs(folder, world.rank());
  Communicator& ranks = between_devices ? *between_devices : world.communicator();
  return run(line, loaded.config, {settled, device, world, ranks, continued_scheme}, folder, observer);
}

// `drawn` gets the folder of the run that this process, when MPI is over, has to draw.
int run_in_world(const CommandLine& line, Launch launch, std::string& drawn) {
  LoadedConfig loaded;
  std::exception_ptr problem;
  try {
    loaded = load(line);
  } catch (...) {
    problem = std::current_exception();
  }
  World world(launch, timeout_of(loaded));
  RunFolder folder;
  RunObserver observer;
  try {
    const int code = run_together(line, loaded, problem, world, folder, observer);
    // Not after a stop on request: whoever asked may soon end this process the hard way.
    const bool trained = line.command == Command::kTrain && code == kExitDone;
    if (trained && world.rank() == 0 && loaded.config.metrics().plot()) drawn = folder.path;
    return code;
  } catch (...) {
    problem = std::current_exception();
  }
  return end_failed(world, folder, observer.last_step(), describe(problem));
}

}  // namespace

int run_command(const CommandLine& line, Launch launch) {
  std::string drawn;
  const int code = run_in_world(line, launch, drawn);
  const std::string said = drawn.empty() ? "" : plot_run(drawn);
  if (!said.empty()) std::cout << said << std::endl;
  return code;
}

}  // namespace longspan
