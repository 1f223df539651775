#include "train/formats/event_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "train/formats/atomic_file.h"
#include "train/formats/crc32c.h"
#include "train/formats/event.pb.h"

namespace longspan {

namespace {

constexpr ErrorKind kKind = ErrorKind::kResource;

double wall_time_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <class T>
void append_to(std::string& record, const T& value) {
  record.append(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace

uint32_t masked_crc32c(std::span<const std::byte> bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

EventWriter::EventWriter(const std::string& folder, int64_t first_step) {
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure) raise(kKind, "cannot create the folder {}: {}", folder, failure.message());

  // TensorBoard reads files in the order of their names, which start with the time.
  const double now = wall_time_seconds();
  for (int n = 0; descriptor_ < 0; ++n) {
    path_ = fmt::format("{}/events.out.tfevents.{:010d}.{}.{}.{}", folder, static_cast<int64_t>(now),
                        host_name(), ::getpid(), n);
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) raise(kKind, "cannot create {}: {}", path_, std::strerror(errno));
  }

  event::Event version;
  version.set_wall_time(now);
  version.set_file_version("brain.Event:2");
  version.mutable_source_metadata()->set_writer("longspan");
  event::Event start;
  start.set_wall_time(now);
  start.set_step(first_step);
  start.mutable_session_log()->set_status(event::SessionLog::START);
  try {
    write_record(version.SerializeAsString());
    write_record(start.SerializeAsString());
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

EventWriter::~EventWriter() {
  ::close(descriptor_);
}

void EventWriter::add_scalars(int64_t step, const std::vector<EventScalar>& scalars) {
  event::Event event;
  event.set_wall_time(wall_time_seconds());
  event.set_step(step);
  for (const EventScalar& scalar : scalars) {
    auto* value = event.mutable_summary()->add_value();
    value->set_tag(scalar.tag);
    value->set_simple_value(static_cast<float>(scalar.value));
  }
  write_record(event.SerializeAsString());
}

void EventWriter::write_record(const std::string& data) {
  const uint64_t length = data.size();
  std::string record;
  append_to(record, length);
  append_to(record, masked_crc32c(bytes_of(length)));
  record += data;
  append_to(record, masked_crc32c(std::as_bytes(std::span(data))));
  write_all(descriptor_, std::as_bytes(std::span(record)), path_, kKind);
}

}  // namespace longspan
