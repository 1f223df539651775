#include "launcher/command_line.h"

#include <fmt/format.h>
#include <google/protobuf/stubs/common.h>
#include <mpi.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "core/base/error.h"
#include "launcher/config_defaults.h"
#include "launcher/join.h"
#include "launcher/nearest_match.h"

namespace longspan {
namespace {

constexpr const char* kConfigHelp = "the configuration, protobuf text; configs/ has examples";
constexpr const char* kSetHelp = "change one field, such as training.steps=100; += appends to a repeated field";
constexpr const char* kWorldHelp = "plan for so many ranks, which need not be there; else for those of the mesh, or of this run";
constexpr const char* kFooter =
    "\nUnder `mpirun -np N` or `srun --mpi=pmix` the same command runs on N ranks; run bare it is one rank (`verify` runs\n"
    "the ranks of the mesh as threads then).\n"
    "Exit codes: 0 done; 2 usage or configuration; 3 data; 4 checkpoint; 5 resources; 6 communication or timeout;\n"
    "7 numerical, or verify found a difference; 85 checkpointed on a signal, start again to continue;\n"
    "130 another command was stopped by a signal.";

// What was compiled.
#if defined(LONGSPAN_CUDA_VERSION)
constexpr const char* kCudaBuilt = "CUDA " LONGSPAN_CUDA_VERSION " kernels (device: CUDA), never run on a GPU";
#else
constexpr const char* kCudaBuilt = "no CUDA";
#endif

const std::vector<std::string> kBenchmarks = {
    "attention",
    "elementwise",
    "gemm",
    "loss",
    "pipeline",
    "ring",
    "step",
};

// "a, b or c"
std::string benchmark_names() {
  const std::vector<std::string> most(kBenchmarks.begin(), kBenchmarks.end() - 1);
  return fmt::format("{} or {}", join(most, ", "), kBenchmarks.back());
}

struct Parser {
  explicit Parser(CommandLine& line);
  CLI::App app{"Longspan trains language models on long sequences, sharded over many ranks.", "longspan"};
  CLI::App *train, *evaluate, *generate, *verify, *plan, *bench, *doctor;
};

// Every use of --set takes one value, so that what follows is not mistaken for another.
void add_set(CLI::App& command, CommandLine& line) {
  command.add_option("--set", line.overrides, kSetHelp)
      ->type_name("path=value")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

CLI::App* add_command(CLI::App& app, CommandLine& line, const char* name, const char* help) {
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("--config", line.config, kConfigHelp)->type_name("FILE");
  add_set(*command, line);
  return command;
}

Parser::Parser(CommandLine& line) {
  app.set_help_flag("--help", "this text");
  app.set_version_flag("--version", version_text(), "the version of this program and of its libraries");
  app.footer(kFooter);
  train = add_command(app, line, "train",
                      "train; resumes by itself from the newest valid checkpoint in output_directory");
  evaluate = add_command(app, line, "evaluate", "loss, perplexity and bits per byte on held-out data");
  generate = add_command(app, line, "generate", "continue a prompt from the newest checkpoint or an imported model");
  verify = add_command(app, line, "verify",
                       "this mesh against one rank: loss and every gradient, at a size that one rank can hold");
  plan = add_command(app, line, "plan", "what fits: memory per rank, FLOPs, bytes moved, the schedule, and why; runs nothing");
  plan->add_option("--world", line.world, kWorldHelp)->type_name("N")->check(CLI::Range(int64_t{1}, kMostPlannedRanks));
  bench = app.add_subcommand("bench",
                             "measure beside the peak of this machine: `ring` over all ranks, the others on one");
  bench->add_option("NAME", line.bench_name, benchmark_names());
  add_set(*bench, line);
  doctor = app.add_subcommand("doctor", "what is wrong with this machine, these hosts and this way to start, and what to do");
}

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return flags;
}

std::vector<std::string> commands_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

[[noreturn]] void refuse_extra(const Parser& parser, const std::string& word) {
  const auto chosen = parser.app.get_subcommands();
  const CLI::App& around = chosen.empty() ? parser.app : *chosen.front();
  const std::string of = chosen.empty() ? "longspan" : "longspan " + around.get_name();
  if (word.starts_with("-")) {
    raise(ErrorKind::kConfiguration, "{} has no flag {}{}", of, word,
          suggestion(word.substr(0, word.find('=')), flags_of(around)));
  }
  if (chosen.empty()) {
    raise(ErrorKind::kConfiguration, "there is no command \"{}\"{}", word, suggestion(word, commands_of(parser.app)));
  }
  raise(ErrorKind::kConfiguration, "{}: what is \"{}\"? A field is changed with --set path=value", of, word);
}

void check_bench(const CommandLine& line) {
  if (line.bench_name.empty()) raise(ErrorKind::kConfiguration, "bench needs a name: {}", benchmark_names());
  if (std::find(kBenchmarks.begin(), kBenchmarks.end(), line.bench_name) == kBenchmarks.end()) {
    raise(ErrorKind::kConfiguration, "there is no benchmark \"{}\"{}", line.bench_name,
          suggestion(line.bench_name, kBenchmarks));
  }
}

// The first word that nothing took; empty if there is none.
std::string first_extra(const Parser& parser) {
  const std::vector<std::string> extra = parser.app.remaining(true);
  return extra.empty() ? "" : extra.front();
}

}  // namespace

std::string version_text() {
  const int proto = GOOGLE_PROTOBUF_VERSION;
  return fmt::format("longspan {}\nbuilt for CPU ({}), Open MPI {}.{}.{}, protobuf {}.{}.{}\n", LONGSPAN_VERSION, kCudaBuilt,
                     OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION, OMPI_RELEASE_VERSION, proto / 1000000,
                     proto / 1000 % 1000, proto % 1000);
}

CommandLine parse_command_line(int argc, const char* const* argv) {
  CommandLine line;
  Parser parser(line);
  try {
    parser.app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const auto chosen = parser.app.get_subcommands();
    line.text = chosen.empty() ? parser.app.help() : chosen.front()->help();
    line.action = CommandLine::Action::kPrint;
    return line;
  } catch (const CLI::CallForVersion&) {
    line.text = version_text();
    line.action = CommandLine::Action::kPrint;
    return line;
  } catch (const CLI::ExtrasError&) {
    refuse_extra(parser, first_extra(parser));
  } catch (const CLI::ParseError& error) {
    raise(ErrorKind::kConfiguration, "{}; see longspan --help", error.what());
  }
  const auto chosen = parser.app.get_subcommands();
  if (chosen.empty()) raise(ErrorKind::kConfiguration, "which command? See longspan --help");
  if (chosen.size() > 1) {
    raise(ErrorKind::kConfiguration, "one command at a time: {} or {}?", chosen[0]->get_name(), chosen[1]->get_name());
  }
  if (*parser.evaluate) line.command = Command::kEvaluate;
  if (*parser.generate) line.command = Command::kGenerate;
  if (*parser.verify) line.command = Command::kVerify;
  if (*parser.plan) line.command = Command::kPlan;
  if (*parser.bench) line.command = Command::kBench;
  if (*parser.doctor) line.command = Command::kDoctor;
  if (line.command == Command::kBench) {
    check_bench(line);
  } else if (line.config.empty() && line.command != Command::kDoctor) {
    raise(ErrorKind::kConfiguration, "longspan {} needs --config FILE", chosen.front()->get_name());
  }
  return line;
}

}  // namespace longspan
