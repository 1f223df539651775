// The facts that one process finds by itself: files of the system, limits, affinity, environment.
#pragma once

#include "launcher/doctor/facts.h"
#include "launcher/system_files.h"

namespace longspan::doctor {

// All but the MPI facts, the host's name and what is measured. `environment` is that of main: name=value, ends with
// null.
Facts collect(const SystemFiles& files, const char* const* environment);

// The parts, for tests.
CpuFacts collect_cpu(const SystemFiles& files, const std::vector<int>& allowed);
MemoryFacts collect_memory(const SystemFiles& files);
SpaceFacts collect_space(const std::string& folder);
std::map<std::string, std::string> variables_that_matter(const char* const* environment);

// GB/s of copying on one core, bytes read and written; the best of some runs.
double measure_copy();

}  // namespace longspan::doctor
