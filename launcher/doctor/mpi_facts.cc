#include "launcher/doctor/mpi_facts.h"

#include <mpi.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <span>
#include <vector>

#include "core/base/error.h"
#include "launcher/doctor/control_variables.h"
#include "launcher/join.h"
#include "train/formats/crc32c.h"

namespace longspan::doctor {
namespace {

// The first part of names such as pml_ob1_priority is the component in use.
std::string transport(const ControlVariables& variables) {
  for (const char* layer : {"ucx", "cm", "ob1"}) {
    if (!variables.has(std::string("pml_") + layer + "_priority")) continue;
    if (std::string(layer) != "ob1") return layer;
    std::vector<std::string> parts;
    for (const char* part : {"vader", "sm", "tcp", "openib", "uct", "ofi"}) {
      if (variables.has(std::string("btl_") + part + "_flags")) parts.push_back(part);
    }
    return "ob1 over " + join(parts, ", ");
  }
  return "";
}

std::string thread_level() {
  int level = 0;
  if (MPI_Query_thread(&level) != MPI_SUCCESS) return "";
  if (level >= MPI_THREAD_MULTIPLE) return "multiple";
  return level >= MPI_THREAD_SERIALIZED ? "serialized" : level >= MPI_THREAD_FUNNELED ? "funneled" : "single";
}

std::string library_version() {
  std::string text(MPI_MAX_LIBRARY_VERSION_STRING, '\0');
  int length = 0;
  if (MPI_Get_library_version(text.data(), &length) != MPI_SUCCESS) return "";
  // Who built it, and when, follows the first comma.
  return text.substr(0, std::min(text.find_first_of(",\n"), static_cast<size_t>(length)));
}

}  // namespace

std::string launch_kind(const Lookup& lookup) {
  if (lookup("OMPI_COMM_WORLD_SIZE")) return "mpirun";
  if (lookup("PMIX_RANK")) return lookup("SLURM_PROCID") ? "srun" : "pmix";
  try {
    detect_launch(lookup);
  } catch (const Error&) {
    return "srun without pmix";
  }
  const char* others = lookup("PMI_SIZE");
  return others && std::atoi(others) > 1 ? "another MPI" : "alone";
}

MpiFacts collect_mpi() {
  const ControlVariables variables;
  MpiFacts facts;
  facts.library = library_version();
  facts.thread_level = thread_level();
  facts.transport = transport(variables);
  const std::string shared = variables.has("btl_vader_segment_size") ? "btl_vader_" : "btl_sm_";
  facts.single_copy = variables.read(shared + "single_copy_mechanism");
  const std::string segment = variables.read(shared + "segment_size");
  if (!segment.empty()) facts.segment_bytes = std::atoll(segment.c_str());
  std::vector<std::string> interfaces;
  for (const std::string& name : variables.endings("btl_tcp_bandwidth_")) {
    if (name.find(':') == std::string::npos) interfaces.push_back(name);
  }
  facts.interfaces = join(interfaces, ", ");
  return facts;
}

std::string program_sum() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  std::vector<char> piece(1 << 20);
  uint32_t sum = 0;
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0) {
    sum = crc32c(std::as_bytes(std::span(piece.data(), static_cast<size_t>(file.gcount()))), sum);
  }
  return fmt::format("{:08x}", sum);
}

Mailbox make_mailbox() {
  static const int64_t cookie = static_cast<int64_t>(std::random_device()());
  return {getpid(), static_cast<int64_t>(reinterpret_cast<intptr_t>(&cookie)), cookie};
}

bool can_read(const Mailbox& mailbox) {
  int64_t found = 0;
  const iovec local{&found, sizeof found}, remote{reinterpret_cast<void*>(mailbox.address), sizeof found};
  const ssize_t count = process_vm_readv(static_cast<pid_t>(mailbox.pid), &local, 1, &remote, 1, 0);
  return count == sizeof found && found == mailbox.cookie;
}

}  // namespace longspan::doctor
