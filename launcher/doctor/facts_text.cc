#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "launcher/doctor/facts.h"

namespace longspan::doctor {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CpuFacts, model, level, instructions, onednn, online, allowed, cores, nodes, quota,
                                   gpus, cuda_gpus, gflops, copy_gbps)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(SpaceFacts, path, kind, total_bytes, free_bytes, writable)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MemoryFacts, total_bytes, available_bytes, swap_bytes, group_limit_bytes, huge_pages,
                                   lock_bytes, files, address_bytes, stack_bytes, rdma_devices)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Mailbox, pid, address, cookie)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MpiFacts, launch, library, thread_level, transport, single_copy, interfaces,
                                   segment_bytes, mailbox, reads_neighbour, program)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Facts, host, cpu, memory, mpi, shared_memory, temporary, current, home, environment,
                                   uptime_seconds, unix_seconds, clock_is_kept)

std::string to_text(const Facts& facts) {
  // Names and variables are bytes of any kind; what is no UTF-8 is replaced.
  return nlohmann::json(facts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Facts facts_from_text(const std::string& text) {
  try {
    return nlohmann::json::parse(text).get<Facts>();
  } catch (const nlohmann::json::exception& error) {
    throw CommError(
        fmt::format("a rank sent facts that cannot be read ({}): do all ranks run the same program?", error.what()));
  }
}

}  // namespace longspan::doctor
