#include "launcher/run_observer.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <cmath>

#include "train/formats/atomic_file.h"

namespace longspan {

void RunObserver::on_start(const RunFacts& facts) {
  facts_ = facts;
  last_step_ = facts.first_step - 1;
  if (!configuration_.path.empty()) {
    write_file_atomically(configuration_.path, configuration_.text, ErrorKind::kResource);
  }
  LOG(INFO) << fmt::format("{}; {} parameters; {} documents, {} tokens", format_start(facts), facts.num_parameters,
                           facts.data_documents, facts.data_tokens);
  if (printer_) printer_->on_start(facts);
}

void RunObserver::on_step(const StepReport& report) {
  last_step_ = report.step;
  const double seconds_left = report.step_seconds * static_cast<double>(facts_.last_step - report.step);
  const std::string waited = std::isnan(report.exposed_wait_seconds)
                                 ? ""
                                 : fmt::format(" | waited {:.3f} s for the ring", report.exposed_wait_seconds);
  LOG(INFO) << format_step({report, facts_.last_step, seconds_left}) << waited
            << fmt::format(" | peak {} bytes", report.peak_memory_bytes);
  if (printer_) printer_->on_step(report);
}

void RunObserver::on_evaluation(const EvaluationReport& report) {
  LOG(INFO) << "step " << report.step << " | " << format_evaluation(report);
  if (printer_) printer_->on_evaluation(report);
}

void RunObserver::on_checkpoint(int64_t step, const std::string& folder, double seconds) {
  LOG(INFO) << "step " << step << " | checkpoint " << folder << " in " << seconds << " s";
  if (printer_) printer_->on_checkpoint(step, folder, seconds);
}

void RunObserver::on_note(const std::string& note) {
  LOG(INFO) << note;
  if (printer_) printer_->on_note(note);
}

void start_log_files(const std::string& folder, int rank) {
  const std::string base = fmt::format("{}/rank_{:04}.", folder, rank);
  google::InitGoogleLogging("longspan");
  google::SetLogDestination(google::INFO, base.c_str());
  google::SetLogSymlink(google::INFO, "");  // one name for all ranks would point anywhere
  for (const auto severity : {google::WARNING, google::ERROR, google::FATAL}) google::SetLogDestination(severity, "");
  FLAGS_logbuflevel = google::INFO - 1;  // a run that is killed leaves what it logged
  FLAGS_stderrthreshold = google::WARNING;
}

void start_log_without_files() {
  google::InitGoogleLogging("longspan");
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::WARNING;
}

}  // namespace longspan
