#include "launcher/plot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "launcher/plot_script.h"
#include "train/formats/atomic_file.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;
using Row = std::vector<double>;

constexpr size_t kMostRows = 2000;
constexpr std::chrono::seconds kPatience{15};

// One row for each line that holds a step; what a line lacks, as one of an older version may, is not a number.
std::vector<Row> rows_of(const std::string& path, const std::vector<std::string>& columns) {
  std::vector<Row> rows;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object()) continue;
    Row row;
    for (const std::string& column : columns) {
      const auto value = object.find(column);
      row.push_back(value != object.end() && value->is_number() ? value->get<double>() : NAN);
    }
    if (!std::isnan(row.front())) rows.push_back(row);
  }
  return rows;
}

// The mean of each column over rows [begin, end), but for the first, the step, which is the last one's.
Row mean_of(const std::vector<Row>& rows, size_t begin, size_t end) {
  Row mean(rows[begin].size());
  for (size_t c = 0; c < mean.size(); ++c) {
    for (size_t r = begin; r < end; ++r) mean[c] += rows[r][c] / static_cast<double>(end - begin);
  }
  mean[0] = rows[end - 1][0];
  return mean;
}

std::string table_of(const std::vector<std::string>& columns, const std::vector<Row>& rows) {
  std::string text = "#";
  for (const std::string& column : columns) text.append(" ").append(column);
  text += "\n";
  const size_t group = (rows.size() + kMostRows - 1) / kMostRows;
  for (size_t begin = 0; begin < rows.size(); begin += group) {
    const Row row = mean_of(rows, begin, std::min(begin + group, rows.size()));
    for (const double number : row) text.append(fmt::to_string(number)).append("\t");
    text.back() = '\n';
  }
  return text;
}

class FileActions {
 public:
  explicit FileActions(const std::string& folder) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addchdir_np(&actions_, folder.c_str());
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, STDOUT_FILENO, STDERR_FILENO);
  }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

// No signals blocked, unlike in this program (launcher/stop_signal.h).
class Attributes {
 public:
  Attributes() {
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attributes_);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  ~Attributes() { posix_spawnattr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

// One column that a run on a device leaves out stands for those beside it.
Times times_in(const std::vector<Row>& steps) {
  const std::vector<std::string> columns = plot_columns();
  const auto compute = static_cast<size_t>(std::find(columns.begin(), columns.end(), "compute_seconds") - columns.begin());
  const bool known = std::any_of(steps.begin(), steps.end(), [&](const Row& row) { return !std::isnan(row[compute]); });
  return known ? Times::kKnown : Times::kUnknown;
}

}  // namespace

bool write_plot(const std::string& output_directory) {
  const std::vector<Row> steps = rows_of(output_directory + "/metrics.jsonl", plot_columns());
  if (steps.empty()) return false;
  const std::vector<std::string> held_out = {"step", "loss"};
  const std::vector<Row> evaluations = rows_of(output_directory + "/evaluation.jsonl", held_out);
  const std::string folder = output_directory + "/plot/";
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, const std::string& text) {
    write_file_atomically(folder + name, text, ErrorKind::kResource);
  };
  write("steps.tsv", table_of(plot_columns(), steps));
  write("evaluations.tsv", table_of(held_out, evaluations));
  write("plot.gp", plot_script(evaluations.empty() ? HeldOut::kNone : HeldOut::kSome, times_in(steps)));
  return true;
}

int run_program(const std::vector<std::string>& words, const std::string& folder, std::chrono::milliseconds patience) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const FileActions actions(folder);
  const Attributes attributes;
  pid_t child = 0;
  if (posix_spawnp(&child, arguments[0], actions.get(), attributes.get(), arguments.data(), environ) != 0) return kNotThere;
  const auto deadline = Clock::now() + patience;
  int status = 0;
  pid_t ended = 0;
  while ((ended = waitpid(child, &status, WNOHANG)) == 0 && Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (ended == 0) {
    kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  }
  return ended == child && WIFEXITED(status) ? WEXITSTATUS(status) : kKilled;
}

std::string plot_run(const std::string& output_directory) noexcept try {
  if (!write_plot(output_directory)) return "";
  const std::string folder = output_directory + "/plot";
  const int code = run_program({"gnuplot", "plot.gp"}, folder, kPatience);
  const bool timed = std::filesystem::exists(folder + "/time.svg");
  if (code == 0) return fmt::format("plots: loss.svg, memory.svg{} in {}", timed ? " and time.svg" : "", folder);
  if (code == kNotThere) return fmt::format("no plots: gnuplot is not installed; elsewhere, run plot.gp in {}", folder);
  return fmt::format("no plots: gnuplot failed; run plot.gp in {} to see why", folder);
} catch (const std::exception& error) {
  return std::string("no plots: ") + error.what();
}

}  // namespace longspan
