// The command line is frozen: these commands, --config, --set, --world, --help, --version. A test that fails here is a promise
// about to be broken.
#include "launcher/command_line.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "core/base/error.h"
#include "launcher/launch.h"

namespace longspan {
namespace {

CommandLine parse(std::vector<const char*> words) {
  words.insert(words.begin(), "longspan");
  return parse_command_line(static_cast<int>(words.size()), words.data());
}

std::string refusal(const std::vector<const char*>& words) {
  try {
    parse(words);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfiguration);
    return error.what();
  }
  return "no error";
}

std::set<std::string> flags_in(std::string text) {
  std::set<std::string> flags;
  text = std::regex_replace(text, std::regex("`[^`]*`"), "");  // what the footer quotes belongs to other programs
  const std::regex flag("(^|[ ,\n])(--?[a-zA-Z][a-z-]*)");
  for (std::sregex_iterator it(text.begin(), text.end(), flag), end; it != end; ++it) flags.insert((*it)[2]);
  return flags;
}

std::set<std::string> commands_in(const std::string& text) {
  std::set<std::string> commands;
  const std::string list = text.substr(text.find("Subcommands:"));
  const std::regex command("\n  ([a-z]+) ");
  for (std::sregex_iterator it(list.begin(), list.end(), command), end; it != end; ++it) commands.insert((*it)[1]);
  return commands;
}

TEST(CommandLine, ListsJustTheCommandsThatWork) {
  const CommandLine line = parse({"--help"});
  EXPECT_EQ(line.action, CommandLine::Action::kPrint);
  EXPECT_EQ(commands_in(line.text),
            (std::set<std::string>{"train", "evaluate", "generate", "verify", "plan", "bench", "doctor"}));
}

TEST(CommandLine, HasJustTheseFlags) {
  EXPECT_EQ(flags_in(parse({"--help"}).text), (std::set<std::string>{"--help", "--version"}));
  for (const char* command : {"train", "evaluate", "generate", "verify"}) {
    EXPECT_EQ(flags_in(parse({command, "--help"}).text), (std::set<std::string>{"--help", "--config", "--set"})) << command;
  }
  EXPECT_EQ(flags_in(parse({"plan", "--help"}).text), (std::set<std::string>{"--help", "--config", "--set", "--world"}));
  EXPECT_EQ(flags_in(parse({"bench", "--help"}).text), (std::set<std::string>{"--help", "--set"}));
  EXPECT_EQ(flags_in(parse({"doctor", "--help"}).text), (std::set<std::string>{"--help"}));
  EXPECT_NE(parse({"bench", "--help"}).text.find("attention, elementwise, gemm, loss, pipeline, ring or step"),
            std::string::npos);
}

TEST(CommandLine, ReadsEveryCommand) {
  EXPECT_EQ(parse({"train", "--config", "a"}).command, Command::kTrain);
  EXPECT_EQ(parse({"evaluate", "--config", "a"}).command, Command::kEvaluate);
  EXPECT_EQ(parse({"generate", "--config=a"}).command, Command::kGenerate);
  EXPECT_EQ(parse({"verify", "--config", "a"}).command, Command::kVerify);
  EXPECT_EQ(parse({"generate", "--config=a"}).config, "a");
  EXPECT_EQ(parse({"plan", "--config", "a"}).command, Command::kPlan);
  EXPECT_EQ(parse({"plan", "--config", "a"}).world, 0);
  EXPECT_EQ(parse({"plan", "--config", "a", "--world", "1024"}).world, 1024);
  const CommandLine bench = parse({"bench", "attention", "--set", "model.head_dim=64"});
  EXPECT_EQ(bench.command, Command::kBench);
  EXPECT_EQ(bench.bench_name, "attention");
  EXPECT_EQ(parse({"bench", "ring"}).bench_name, "ring");
  EXPECT_EQ(parse({"bench", "gemm"}).bench_name, "gemm");
  EXPECT_EQ(bench.overrides, (std::vector<std::string>{"model.head_dim=64"}));
  EXPECT_EQ(parse({"doctor"}).command, Command::kDoctor);
}

TEST(CommandLine, KeepsOverridesAsTheyAre) {
  const std::vector<std::string> overrides{"a=[1,2]", "b=x y,z", "c+=\"q\"", "d=--set", "e="};
  EXPECT_EQ(parse({"train", "--set", "a=[1,2]", "--set=b=x y,z", "--config", "f", "--set", "c+=\"q\"", "--set", "d=--set",
                   "--set", "e="}).overrides, overrides);
}

TEST(CommandLine, NamesTheNearestMatch) {
  EXPECT_EQ(refusal({"trian", "--config", "x"}), "there is no command \"trian\"; did you mean \"train\"?");
  EXPECT_EQ(refusal({"train", "--confg", "x"}), "longspan train has no flag --confg; did you mean \"--config\"?");
  EXPECT_EQ(refusal({"--versoin"}), "longspan has no flag --versoin; did you mean \"--version\"?");
  EXPECT_EQ(refusal({"bench", "atention"}), "there is no benchmark \"atention\"; did you mean \"attention\"?");
  EXPECT_EQ(refusal({"doctor", "--config", "x"}), "longspan doctor has no flag --config; known are --help");
  EXPECT_NE(refusal({"train", "--config", "x", "stray"}).find("what is \"stray\"?"), std::string::npos);
  EXPECT_EQ(refusal({"train", "--config", "x", "--world", "2"}).find("longspan train has no flag --world"), 0u);
  for (const char* world : {"0", "-1", "2000000", "many"}) {
    EXPECT_NE(refusal({"plan", "--config", "x", "--world", world}).find("--world"), std::string::npos) << world;
  }
}

TEST(CommandLine, SaysWhatIsMissing) {
  EXPECT_NE(refusal({}).find("which command?"), std::string::npos);
  EXPECT_EQ(refusal({"train"}), "longspan train needs --config FILE");
  EXPECT_EQ(refusal({"plan", "--world", "2"}), "longspan plan needs --config FILE");
  EXPECT_NE(refusal({"train", "--config"}).find("--config"), std::string::npos);
  EXPECT_EQ(refusal({"bench"}), "bench needs a name: attention, elementwise, gemm, loss, pipeline, ring or step");
}

TEST(CommandLine, PrintsItsVersion) {
  EXPECT_EQ(parse({"--version"}).text.substr(0, 9), "longspan ");
  EXPECT_EQ(parse({"--version"}).text, version_text());
  EXPECT_EQ(version_text().find("no CUDA") == std::string::npos, LS_HAS_CUDA == 1) << version_text();
}

Launch detect(const std::map<std::string, std::string>& environment) {
  return detect_launch([&](const char* name) {
    const auto it = environment.find(name);
    return it == environment.end() ? nullptr : it->second.c_str();
  });
}

TEST(Launch, TellsMpiFromAProcessAlone) {
  EXPECT_EQ(detect({}), Launch::kAlone);
  EXPECT_EQ(detect({{"OMPI_COMM_WORLD_SIZE", "2"}}), Launch::kMpi);
  EXPECT_EQ(detect({{"PMIX_RANK", "0"}, {"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}), Launch::kMpi);
}

TEST(Launch, RefusesTasksThatMpiCannotJoin) {
  EXPECT_THROW(detect({{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "7"}}), Error);
  EXPECT_THROW(detect({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "7"}, {"SLURM_STEP_ID", "0"}}), Error);
  EXPECT_EQ(detect({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}}), Launch::kAlone);
  // The shell of a batch job.
  EXPECT_EQ(detect({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "7"}}), Launch::kAlone);
}

}  // namespace
}  // namespace longspan
