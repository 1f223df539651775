#include "launcher/launch.h"

#include <cstdlib>
#include <string>

#include "core/base/error.h"

namespace longspan {
namespace {

std::string text(const Lookup& lookup, const char* variable) {
  const char* value = lookup(variable);
  return value ? value : "";
}

// The shell of a batch job has Slurm's variables, too, but is no task of a step.
bool is_slurm_task_among_many(const Lookup& lookup) {
  const std::string task = text(lookup, "SLURM_PROCID");
  if (task.empty() || std::atoi(text(lookup, "SLURM_NTASKS").c_str()) <= 1) return false;
  if (text(lookup, "SLURM_STEP_NUM_TASKS") == "1") return false;
  const bool in_job = !text(lookup, "SLURM_JOB_ID").empty(), in_step = !text(lookup, "SLURM_STEP_ID").empty();
  return task != "0" || in_step || !in_job;
}

}  // namespace

Launch detect_launch(const Lookup& lookup) {
  if (lookup("OMPI_COMM_WORLD_SIZE") || lookup("PMIX_RANK")) return Launch::kMpi;
  if (is_slurm_task_among_many(lookup)) {
    raise(ErrorKind::kConfiguration,
          "this is task {} of {} under Slurm, but MPI cannot see the others: start with srun --mpi=pmix",
          text(lookup, "SLURM_PROCID"), text(lookup, "SLURM_NTASKS"));
  }
  return Launch::kAlone;
}

bool is_first_process(const Lookup& lookup) {
  for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID", "PMI_RANK"}) {
    if (lookup(variable)) return text(lookup, variable) == "0";
  }
  return true;
}

}  // namespace longspan
