// The trace of some steps as a file for chrome://tracing and ui.perfetto.dev: the JSON of the Trace Event Format, with
// a process for each rank and a row for each stream of it: compute, communication (what the rank waits for or does
// itself), transfers (from the post to the moment the rank saw the end; as many rows as overlap), data, checkpoint,
// evaluation. A rank on a device also has a row for each of the device's streams, above the host's, whose names then begin
// with "host": there the host gives work to the streams, and goes on. Times are microseconds on rank 0's clock. A span's args say
// what it is about (TraceArgs in core/runtime/trace.h).
#pragma once

#include <span>
#include <string>

#include "parallel/comm/reference_clock.h"

namespace longspan {

struct RankTrace {
  int rank = 0;
  std::span<const TraceEvent> events;
  size_t num_lost = 0;
  std::span<const std::string> streams = {};  // Tracer::streams()
};

// One rank's part: JSON objects with commas between. Times count from `origin_ns` of rank 0's clock.
std::string trace_objects(const RankTrace& trace, const ReferenceClock& clock, int64_t origin_ns);

// Raises Error(kResource) where it cannot be made.
void make_trace_folder(const std::string& folder);

// Collective: rank 0 writes the parts of all ranks, and answers why where the file cannot be written: a run is not given up
// for its trace. Other ranks answer nothing.
std::string write_trace_file(const Context& context, Communicator& world, const std::string& path, const std::string& objects);

}  // namespace longspan
