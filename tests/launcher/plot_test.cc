// launcher/plot.h: the tables of a run and how a program is started. Drawing itself is in two_ranks_test.sh.
#include "launcher/plot.h"

#include <gtest/gtest.h>

#include "launcher/plot_script.h"
#include "tests/support/folder.h"

namespace longspan {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

TEST(Plot, TablesHoldWhatTheRunMeasured) {
  const test::Folder folder;
  folder.write("metrics.jsonl",
               "{\"step\": 1, \"loss\": 2.5, \"compute_seconds\": 0.25, \"memory_stash_bytes\": 100}\n"
               "{\"step\": 2, \"loss\": null}\nnot json\n{\"loss\": 1}\n");
  folder.write("evaluation.jsonl", "{\"step\": 2, \"loss\": 1.5}\n");
  ASSERT_TRUE(write_plot(folder.path()));
  EXPECT_EQ(lines_of(folder / "plot/steps.tsv"),
            (std::vector<std::string>{"# step loss compute_seconds communication_exposed_seconds data_seconds "
                                      "communication_hidden_seconds memory_weights_bytes memory_gradients_bytes "
                                      "memory_optimizer_bytes memory_stash_bytes memory_activations_bytes "
                                      "memory_workspace_bytes memory_communication_bytes",
                                      "1\t2.5\t0.25\tnan\tnan\tnan\tnan\tnan\tnan\t100\tnan\tnan\tnan",
                                      "2\tnan\tnan\tnan\tnan\tnan\tnan\tnan\tnan\tnan\tnan\tnan\tnan"}));
  EXPECT_EQ(lines_of(folder / "plot/evaluations.tsv"), (std::vector<std::string>{"# step loss", "2\t1.5"}));
  EXPECT_NE(test::read_file(folder / "plot/plot.gp").find("evaluations.tsv"), std::string::npos);
}

TEST(Plot, OfARunOnADeviceSaysNothingOfTimes) {
  for (const bool on_device : {false, true}) {
    const test::Folder folder;
    folder.write("metrics.jsonl", fmt::format("{{\"step\": 1, \"loss\": 2.5, \"compute_seconds\": {}, \"data_seconds\": 1}}\n",
                                              on_device ? "null" : "0.5"));
    ASSERT_TRUE(write_plot(folder.path()));
    const std::string script = test::read_file(folder / "plot/plot.gp");
    EXPECT_EQ(script.find("output \"time.svg\"") == std::string::npos, on_device);
    EXPECT_NE(script.find("output \"memory.svg\""), std::string::npos);
  }
}

TEST(Plot, LongRunsAreAveraged) {
  const test::Folder folder;
  std::string steps;
  for (int step = 1; step <= 5001; ++step) steps += fmt::format("{{\"step\": {}, \"loss\": {}.0}}\n", step, step % 3);
  folder.write("metrics.jsonl", steps);
  ASSERT_TRUE(write_plot(folder.path()));
  const auto lines = lines_of(folder / "plot/steps.tsv");
  ASSERT_EQ(lines.size(), 1u + 1667);  // three steps each
  EXPECT_TRUE(lines[1].starts_with("3\t1\t")) << lines[1];
  EXPECT_TRUE(lines[1667].starts_with("5001\t1\t")) << lines[1667];
  EXPECT_EQ(test::read_file(folder / "plot/plot.gp").find("evaluations.tsv"), std::string::npos) << "there are none";
}

TEST(Plot, OfARunWithoutStepsIsNothing) {
  const test::Folder folder;
  EXPECT_FALSE(write_plot(folder.path()));
  EXPECT_EQ(plot_run(folder.path()), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "plot"));
}

TEST(Plot, NeverFailsTheRun) {
  const test::Folder folder;
  folder.write("metrics.jsonl", "{\"step\": 1, \"loss\": 2.5}\n");
  folder.write("plot", "a file where the folder should be");
  EXPECT_TRUE(plot_run(folder.path()).starts_with("no plots: ")) << plot_run(folder.path());
}

TEST(RunProgram, TellsHowAProgramEnded) {
  const test::Folder folder;
  EXPECT_EQ(run_program({"sh", "-c", "pwd > here; exit 7"}, folder.path(), 10s), 7);
  EXPECT_EQ(lines_of(folder / "here"), std::vector<std::string>{std::filesystem::canonical(folder.path()).string()});
  EXPECT_EQ(run_program({"sh", "-c", "cat > nothing"}, folder.path(), 10s), 0) << "there is no input to wait for";
  EXPECT_EQ(run_program({"no-such-program-anywhere"}, folder.path(), 10s), kNotThere);
  EXPECT_EQ(run_program({"sh", "-c", "kill -TERM $$"}, folder.path(), 10s), kKilled);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(run_program({"sleep", "60"}, folder.path(), 50ms), kKilled);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 30s);
}

}  // namespace
}  // namespace longspan
