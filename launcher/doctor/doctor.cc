#include "launcher/doctor/doctor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "launcher/doctor/collect.h"
#include "launcher/doctor/examine.h"
#include "launcher/doctor/judge.h"
#include "launcher/doctor/mpi_facts.h"
#include "launcher/doctor/print.h"
#include "launcher/exit_status.h"
#include "launcher/world.h"

namespace longspan::doctor {
namespace {

constexpr std::chrono::seconds kTimeout{60};   // of what is collective when MPI ends
constexpr std::chrono::seconds kStartLimit{30};

Facts look(const std::string& launch, bool has_mpi) {
  Facts facts = collect(SystemFiles(), environ);
  if (has_mpi) facts.mpi = collect_mpi();
  facts.mpi.launch = launch;
  facts.mpi.program = program_sum();
  facts.mpi.mailbox = make_mailbox();
  return facts;
}

}  // namespace

int run_doctor() {
  const std::string launch = launch_kind(std::getenv);
  const bool has_mpi = launch == "mpirun" || launch == "srun" || launch == "pmix";
  World world(has_mpi ? Launch::kMpi : Launch::kAlone, kTimeout, kStartLimit);
  Examination found;
  try {
    found = examine(world.communicator(), world.host_name(), [&] { return look(launch, has_mpi); });
  } catch (const std::exception&) {
    // The others wait for this rank.
    const Failure failure = describe(std::current_exception());
    std::cerr << fmt::format("longspan: rank {} on {}: {}\n", world.rank(), world.host_name(), failure.message)
              << std::flush;
    world.abort(failure.code);
  }
  int code = kExitDone;
  if (world.rank() == 0) {
    const std::vector<Finding> findings = judge(found);
    code = exit_code_of(found, findings);
    // Processes that MPI cannot join all would say the same.
    if (is_first_process(std::getenv)) std::cout << format_report(findings) << std::flush;
    if (!found.silences.empty()) world.abort(code);
  }
  return static_cast<int>(world.largest(code));
}

}  // namespace longspan::doctor
