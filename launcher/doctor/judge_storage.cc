#include <fmt/format.h>

#include <algorithm>

#include "launcher/doctor/topics.h"

namespace longspan::doctor {
namespace {

constexpr double kGiB = 0x1p30, kMiB = 0x1p20;

bool is_network(const std::string& kind) {
  static constexpr const char* kKinds[] = {"nfs", "lustre", "gpfs", "smb", "ceph", "beegfs", "afs"};
  return std::any_of(std::begin(kKinds), std::end(kKinds), [&](const char* one) { return kind == one; });
}

// Where Open MPI 4 keeps the segments that ranks of a host share.
std::optional<Remark> shared_memory(const Facts& facts, size_t num_ranks) {
  const SpaceFacts& space = facts.shared_memory;
  if (space.total_bytes < 0) return {};
  const bool used = num_ranks > 1;
  if (used && space.writable == 0) {
    return Remark{Status::kError, "/dev/shm cannot be written",
                  "ranks of a host share memory there: chmod 1777 /dev/shm"};
  }
  const double segment = facts.mpi.segment_bytes > 0 ? static_cast<double>(facts.mpi.segment_bytes) : 4 * kMiB;
  const double needed = segment * static_cast<double>(num_ranks);
  // The segments of this run are there already.
  const auto free = static_cast<double>(space.free_bytes), total = static_cast<double>(space.total_bytes);
  const bool short_of = used && (total < needed || free < kMiB);
  const bool small = total <= 64 * kMiB || (used && free < needed);
  const std::string text = fmt::format("/dev/shm has {{}} free of {}", format_amount(total, Unit::kBytes));
  const std::string advice = fmt::format(
      "{} rank{} of a host share{} about {} there, and more dies of SIGBUS: docker run --shm-size=1g, or mount -o "
      "remount,size=1g /dev/shm",
      num_ranks, num_ranks == 1 ? "" : "s", num_ranks == 1 ? "s" : "", format_amount(needed, Unit::kBytes));
  const Status status = short_of ? Status::kError : small ? Status::kWarning : Status::kOk;
  return Remark{status, text, status == Status::kOk ? "" : advice, free, Unit::kBytes};
}

std::optional<Remark> temporary(const Facts& facts) {
  const SpaceFacts& space = facts.temporary;
  const std::string name = variable(facts, "TMPDIR").empty() ? "/tmp" : "TMPDIR " + space.path;
  const std::string elsewhere = "Open MPI keeps its session there: export TMPDIR to a local disk with space";
  if (space.total_bytes < 0) return Remark{Status::kError, name + " is no folder", elsewhere};
  if (space.writable == 0) return Remark{Status::kError, name + " cannot be written", elsewhere};
  if (is_network(space.kind)) {
    return Remark{Status::kWarning, fmt::format("{} is on a network file system ({})", name, space.kind),
                  elsewhere + ", else starting is slow and shared memory files may fail"};
  }
  const auto free = static_cast<double>(space.free_bytes);
  const Status status = free < 16 * kMiB ? Status::kError : free < 256 * kMiB ? Status::kWarning : Status::kOk;
  return Remark{status, name + " has {} free", status == Status::kOk ? "" : elsewhere, free, Unit::kBytes};
}

std::optional<Remark> current(const Facts& facts) {
  const SpaceFacts& space = facts.current;
  if (space.total_bytes < 0) return {};
  const auto free = static_cast<double>(space.free_bytes);
  if (free >= 4 * kGiB) return Remark{Status::kOk, "the current folder has {} free", "", free, Unit::kBytes};
  return Remark{
      Status::kWarning, "the current folder has {} free",
      "a checkpoint takes 12 bytes a parameter, and two are kept: point output_directory to where there is space", free,
      Unit::kBytes};
}

}  // namespace

void judge_storage(const Examination&, Roll& roll) {
  roll.of_hosts(Topic::kStorage,
                [](const Facts& facts, const auto& ranks) { return shared_memory(facts, ranks.size()); });
  roll.of_hosts(Topic::kStorage, [](const Facts& facts, const auto&) { return temporary(facts); });
  roll.of_hosts(Topic::kStorage, [](const Facts& facts, const auto&) { return current(facts); });
}

}  // namespace longspan::doctor
