// EventWriter: scalars for TensorBoard, in its event files.
//
// A file is a list of records (u64 length, masked CRC-32C of the length, data, masked CRC-32C of the data),
// each data a protobuf Event (event.proto; tensorboard/summary/writer/record_writer.py). Each process writes
// a file of its own; it opens with a session start at `first_step`, upon which TensorBoard forgets what
// earlier files say of that step and later. Raises Error(kResource) naming the file when it cannot be
// written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace longspan {

struct EventScalar {
  std::string tag;
  double value = 0;
};

class EventWriter {
 public:
  // Creates the folder where it is missing. `first_step` is the first this process will write.
  EventWriter(const std::string& folder, int64_t first_step);
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  // All scalars of a step; they are in the file when this returns.
  void add_scalars(int64_t step, const std::vector<EventScalar>& scalars);

  const std::string& path() const { return path_; }

 private:
  void write_record(const std::string& data);

  std::string path_;
  int descriptor_ = -1;
};

// The CRC as the records hold it: rotated and offset, so that a CRC over data that holds CRCs stays a good
// one.
uint32_t masked_crc32c(std::span<const std::byte> bytes);

}  // namespace longspan
