// What the eye gets of a run: one line per step, or a bar with the time left on a terminal. Rank 0 only.
#pragma once

#include <chrono>
#include <iosfwd>
#include <string>

#include "train/observer.h"

namespace longspan {

std::string format_duration(double seconds);  // "42s", "3:07", "1:02:03"
std::string format_count(double count);       // "950", "12.3k", "1.25M"

struct ProgressLine {
  StepReport report;
  int64_t last_step = 0;
  double seconds_left = 0;
};

// "step 12/500 | loss 2.1234 | grad norm 0.51 | lr 1.9e-03 | 12.3k tok/s | 1:23 left"
std::string format_step(const ProgressLine& line);

struct BarStyle {
  int width = 79;  // columns of the terminal
  enum class Colour { kOff, kOn } colour = Colour::kOff;
};
// "[#####-----]  50%  step 250/500  loss 2.1234  12.3k tok/s  1:23 left", at most `width` columns
std::string format_bar(const ProgressLine& line, const BarStyle& style);

// "steps 1 to 500 of 2048 tokens", or that nothing is left to do
std::string format_start(const RunFacts& facts);

std::string format_evaluation(const EvaluationReport& report);

class ProgressPrinter final : public TrainObserver {
 public:
  enum class Mode { kLines, kBar };
  struct Options {
    Mode mode = Mode::kLines;
    BarStyle style;
    std::ostream& lines;  // plain lines
    std::ostream& bar;    // the bar, and in kBar mode the lines as well, so that they do not mix
  };
  explicit ProgressPrinter(const Options& options) : options_(options) {}
  ~ProgressPrinter() override;

  void on_start(const RunFacts& facts) override;
  void on_step(const StepReport& report) override;
  void on_evaluation(const EvaluationReport& report) override;
  void on_checkpoint(int64_t step, const std::string& folder, double seconds) override;
  void on_note(const std::string& note) override;

 private:
  using Clock = std::chrono::steady_clock;
  void print_line(const std::string& line);  // above the bar
  double seconds_left(const StepReport& report);

  Options options_;
  RunFacts facts_;
  Clock::time_point first_step_end_;
  std::string bar_;  // as it stands on the terminal; empty if there is none
};

}  // namespace longspan
