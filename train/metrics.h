// MetricsWriter: what a run leaves for machines: metrics.jsonl (one object per step), evaluation.jsonl, TensorBoard files.
#pragma once

#include <memory>

#include "train/formats/event_writer.h"
#include "train/formats/json_lines.h"
#include "train/observer.h"
#include "train/run_spec.h"

namespace longspan {

class MetricsWriter {
 public:
  // Lines of steps after `steps_done`, which this run will do again, are dropped. An empty output directory writes nothing.
  MetricsWriter(const RunSpec& spec, int64_t steps_done);
  void write(const StepReport& report);
  void write(const EvaluationReport& report);

 private:
  std::unique_ptr<JsonLinesWriter> steps_, evaluations_;
  std::unique_ptr<EventWriter> events_;
};

}  // namespace longspan
