#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "launcher/doctor/topics.h"
#include "launcher/join.h"

namespace longspan::doctor {
namespace {

void judge_launch(const Examination& found, Roll& roll) {
  const Facts& first = found.ranks.front();
  const std::string& launch = first.mpi.launch;
  const std::string tasks = variable(first, "SLURM_NTASKS");
  if (launch == "srun without pmix") {
    roll.say(Topic::kMpi, Status::kError,
             fmt::format("srun started {} tasks, but MPI cannot see them: each would be rank 0 of 1", tasks),
             "start with srun --mpi=pmix (srun --mpi=list shows whether this Slurm has it), or mpirun inside the job");
  } else if (launch == "another MPI") {
    roll.say(
        Topic::kMpi, Status::kError,
        fmt::format("the mpirun of another MPI (MPICH, Intel) started {} processes; this program is linked with Open "
                    "MPI, so each would be rank 0 of 1",
                    variable(first, "PMI_SIZE")),
        "use the mpirun of Open MPI: which -a mpirun lists those on PATH");
  } else if (launch == "alone") {
    const bool has_tasks = !tasks.empty() && tasks != "1";
    roll.say(Topic::kMpi, has_tasks ? Status::kNote : Status::kOk,
             has_tasks ? fmt::format("one process, without MPI, in a Slurm job of {} tasks", tasks)
                       : "one process, without MPI",
             has_tasks ? "to examine the whole job: srun --mpi=pmix longspan doctor" : "");
  } else {
    std::vector<std::string> hosts;
    for (const auto& ranks : roll.hosts()) {
      hosts.push_back(fmt::format("{} on {}", ranks.size(), found.ranks[static_cast<size_t>(ranks.front())].host));
    }
    const size_t more = hosts.size() > 8 ? hosts.size() - 8 : 0;
    hosts.resize(hosts.size() - more);
    roll.say(Topic::kMpi, Status::kOk,
             fmt::format("{} ranks on {} host{}, started by {}: {}{}", found.ranks.size(), roll.hosts().size(),
                         roll.hosts().size() == 1 ? "" : "s", launch, join(hosts, ", "),
                         more > 0 ? fmt::format(" and {} hosts more", more) : ""));
  }
}

// Error if the ranks do not all say the same.
template <class Of>
void must_agree(const Examination& found, Roll& roll, const char* what, const Of& of, const std::string& advice) {
  std::map<std::string, std::vector<int>> said;
  for (size_t rank = 0; rank < found.ranks.size(); ++rank) {
    const std::string value = of(found.ranks[rank]);
    if (!value.empty()) said[value].push_back(static_cast<int>(rank));
  }
  if (said.size() < 2) return;
  std::vector<std::string> texts;
  for (const auto& [value, ranks] : said) texts.push_back(fmt::format("{} ({})", value, roll.name_ranks(ranks)));
  roll.say(Topic::kMpi, Status::kError, fmt::format("ranks differ in {}: {}", what, join(texts, ", ")), advice);
}

std::optional<Remark> library(const Facts& facts) {
  if (facts.mpi.library.empty()) return {};
  const std::string text = fmt::format("{}, threads: {}", facts.mpi.library, facts.mpi.thread_level);
  if (facts.mpi.thread_level == "single") {
    return Remark{Status::kError, text,
                  "longspan has threads beside the one that calls MPI: install an Open MPI with threads"};
  }
  return Remark{Status::kOk, text, ""};
}

std::optional<Remark> transport(const Facts& facts) {
  if (facts.mpi.transport.empty()) return {};
  std::string text = "messages go by " + facts.mpi.transport;
  if (!facts.mpi.interfaces.empty()) text += "; TCP uses " + facts.mpi.interfaces;
  return Remark{Status::kOk, text, ""};
}

// How ranks of one host hand each other long messages.
std::optional<Remark> single_copy(const Facts& facts, size_t num_ranks) {
  const std::string& mechanism = facts.mpi.single_copy;
  if (num_ranks < 2 || mechanism.empty()) return {};
  const std::string switch_off = "export OMPI_MCA_btl_vader_single_copy_mechanism=none";
  if (mechanism == "none") {
    return Remark{Status::kOk, "between ranks of a host long messages are copied twice (no single-copy mechanism)", ""};
  }
  if (mechanism == "cma" && facts.mpi.reads_neighbour == 0) {
    // Seen with Open MPI 4.1: what arrives is right, but slower than without the attempt.
    return Remark{
        Status::kWarning,
        "Open MPI tries to copy long messages straight from a neighbour's memory (CMA), which the kernel forbids: "
        "each prints \"Read -1, expected ...\" and is then sent the slow way",
        switch_off + ", or allow it (docker run --cap-add=SYS_PTRACE; one PID namespace; kernel.yama.ptrace_scope=0)"};
  }
  return Remark{Status::kOk,
                fmt::format("between ranks of a host long messages are copied once ({}{})", mechanism,
                            facts.mpi.reads_neighbour == 1 ? ", tried" : ""),
                ""};
}

void judge_progress(const Examination& found, Roll& roll) {
  if (found.ring.bytes_per_second <= 0) return;
  const int percent = static_cast<int>(100 * (1 - found.ring.exposed) + 0.5);
  roll.say(Topic::kMpi, Status::kOk,
           fmt::format("without a call into MPI {}% of a message moved by itself; the rest costs little, since "
                       "longspan calls it between tiles",
                       percent));
}

}  // namespace

void judge_mpi(const Examination& found, Roll& roll) {
  judge_launch(found, roll);
  must_agree(
      found, roll, "the program file", [](const Facts& facts) { return facts.mpi.program; },
      "copy the same build to every host, or start it from a file system that all share");
  must_agree(
      found, roll, "the MPI library", [](const Facts& facts) { return facts.mpi.library; },
      "install the same version on every host, and check PATH and LD_LIBRARY_PATH there");
  roll.of_ranks(Topic::kMpi, [](const Facts& facts, int) { return library(facts); });
  roll.of_hosts(Topic::kMpi, [](const Facts& facts, const auto&) { return transport(facts); });
  roll.of_hosts(Topic::kMpi, [&](const Facts&, const std::vector<int>& ranks) {
    const int second = ranks.size() > 1 ? ranks[1] : ranks[0];  // who was asked to read
    return single_copy(found.ranks[static_cast<size_t>(second)], ranks.size());
  });
  judge_progress(found, roll);
}

}  // namespace longspan::doctor
