#include "train/metrics.h"

#include <cmath>
#include <filesystem>
#include <limits>

#include "core/base/error.h"

namespace longspan {

namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();  // null in JSON
constexpr char kMfuConvention[] =
    "causal-exact: 6 x parameters that multiply + causal attention, no recomputation, over the dense bf16 peak";

std::unique_ptr<JsonLinesWriter> reopened(const std::string& path, int64_t steps_done) {
  truncate_after_step(path, steps_done);
  return std::make_unique<JsonLinesWriter>(path);
}

std::vector<JsonField> fields_of(const StepReport& r) {
  std::vector<JsonField> fields = {{"step", r.step},
                                   {"loss", r.loss},
                                   {"grad_norm", r.grad_norm},
                                   {"learning_rate", r.learning_rate},
                                   {"tokens", r.tokens},
                                   {"tokens_per_second", r.tokens_per_second()},
                                   {"step_seconds", r.step_seconds},
                                   {"exposed_wait_seconds", r.exposed_wait_seconds},
                                   {"compute_seconds", r.compute_seconds},
                                   {"communication_exposed_seconds", r.communication_exposed_seconds},
                                   {"communication_hidden_seconds", r.communication_hidden_seconds},
                                   {"data_seconds", r.data_seconds},
                                   {"unaccounted_seconds", r.unaccounted_seconds},
                                   {"checkpoint_seconds", r.checkpoint_seconds},
                                   {"evaluation_seconds", r.evaluation_seconds},
                                   {"compute_seconds_min", r.compute_seconds_min},
                                   {"compute_seconds_max", r.compute_seconds_max},
                                   {"mfu", r.mfu},
                                   {"mfu_convention", std::string(kMfuConvention)},
                                   {"peak_memory_bytes", r.peak_memory_bytes},
                                   {"peak_memory_bytes_max", r.peak_memory_bytes_max}};
  for (size_t tag = 0; tag < r.memory_bytes_by_tag.size(); ++tag) {
    fields.push_back({fmt::format("memory_{}_bytes", name(static_cast<MemoryTag>(tag))), r.memory_bytes_by_tag[tag]});
  }
  return fields;
}

std::vector<EventScalar> scalars_of(const StepReport& r) {
  std::vector<EventScalar> scalars = {{"loss", r.loss},
                                      {"grad_norm", r.grad_norm},
                                      {"learning_rate", r.learning_rate},
                                      {"tokens_per_second", r.tokens_per_second()},
                                      {"seconds/step", r.step_seconds},
                                      {"seconds/compute", r.compute_seconds},
                                      {"seconds/compute_min", r.compute_seconds_min},
                                      {"seconds/compute_max", r.compute_seconds_max},
                                      {"seconds/communication_exposed", r.communication_exposed_seconds},
                                      {"seconds/communication_hidden", r.communication_hidden_seconds},
                                      {"seconds/data", r.data_seconds},
                                      {"seconds/checkpoint", r.checkpoint_seconds},
                                      {"seconds/evaluation", r.evaluation_seconds},
                                      {"memory/peak_bytes", static_cast<double>(r.peak_memory_bytes)}};
  for (size_t tag = 0; tag < r.memory_bytes_by_tag.size(); ++tag) {
    scalars.push_back({fmt::format("memory/{}", name(static_cast<MemoryTag>(tag))),
                       static_cast<double>(r.memory_bytes_by_tag[tag])});
  }
  const auto unknown = [](const EventScalar& scalar) { return scalar.tag.starts_with("seconds/") && std::isnan(scalar.value); };
  std::erase_if(scalars, unknown);
  return scalars;
}

}  // namespace

MetricsWriter::MetricsWriter(const RunSpec& spec, int64_t steps_done) {
  const std::string& folder = spec.output_directory;
  if (folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) raise(ErrorKind::kResource, "output_directory {} cannot be made: {}", folder, error.message());
  steps_ = reopened(folder + "/metrics.jsonl", steps_done);
  if (spec.evaluation.data) evaluations_ = reopened(folder + "/evaluation.jsonl", steps_done);
  if (spec.tensorboard == RunSpec::TensorBoard::kOn) {
    events_ = std::make_unique<EventWriter>(folder + "/tensorboard", steps_done + 1);
  }
}

void MetricsWriter::write(const StepReport& r) {
  if (!steps_) return;
  steps_->append(fields_of(r));
  if (events_) events_->add_scalars(r.step, scalars_of(r));
}

void MetricsWriter::write(const EvaluationReport& r) {
  if (!evaluations_) return;
  evaluations_->append({{"step", r.step},
                        {"loss", r.loss},
                        {"perplexity", r.perplexity},
                        {"bits_per_byte", r.bits_per_byte < 0 ? kUnknown : r.bits_per_byte},
                        {"tokens", r.tokens}});
  if (!events_) return;
  std::vector<EventScalar> scalars = {{"evaluation/loss", r.loss}};
  if (r.bits_per_byte >= 0) scalars.push_back({"evaluation/bits_per_byte", r.bits_per_byte});
  events_->add_scalars(r.step, scalars);
}

}  // namespace longspan
