// What one rank tells of its run: everything to its log file, and on rank 0 also to the eye.
#pragma once

#include "launcher/progress.h"

namespace longspan {

class RunObserver final : public TrainObserver {
 public:
  // From now on, what happens is also shown by `printer`, which must outlive the run; without one nothing is printed.
  void print_with(TrainObserver* printer) { printer_ = printer; }
  // What on_start writes: a run that is refused before leaves the file of an earlier one as it is.
  void keep_configuration(const std::string& path, const std::string& text) { configuration_ = {path, text}; }
  int64_t last_step() const { return last_step_; }  // the last one finished; 0 before the first

  void on_start(const RunFacts& facts) override;
  void on_step(const StepReport& report) override;
  void on_evaluation(const EvaluationReport& report) override;
  void on_checkpoint(int64_t step, const std::string& folder, double seconds) override;
  void on_note(const std::string& note) override;

 private:
  struct File {
    std::string path, text;
  };
  TrainObserver* printer_ = nullptr;
  File configuration_;  // without a path, nothing is written
  RunFacts facts_;
  int64_t last_step_ = 0;
};

// Log files in `folder`, with the rank in their names; warnings also go to standard error.
void start_log_files(const std::string& folder, int rank);
// No files; warnings go to standard error.
void start_log_without_files();

}  // namespace longspan
