// DeviceQueue: what a device does for a Stream: work that it takes at once and does in order, later. One for CUDA, and one for
// the emulator of tests.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

struct CUstream_st;

namespace longspan {

// A point in a stream.
class EventState {
 public:
  virtual ~EventState() = default;
  virtual bool done() const = 0;
  virtual bool wait(std::chrono::milliseconds timeout) const = 0;  // false: it was not reached
};

// When a device reached a point of one of its streams.
class TimePoint {
 public:
  virtual ~TimePoint() = default;
  // By the device's clock. Both must have been reached, by streams of one device.
  virtual int64_t ns_since(const TimePoint& earlier) const = 0;
};

struct RowCopy {
  void* to = nullptr;
  size_t to_pitch = 0;  // bytes from the begin of a row to that of the next
  const void* from = nullptr;
  size_t from_pitch = 0;
  size_t row_bytes = 0, num_rows = 0;
};

// What goes wrong on the device shows later, as Error(kInternal) of any call.
class DeviceQueue {
 public:
  virtual ~DeviceQueue() = default;  // finishes what was given to it

  // Either may be memory of the host. Then that is left alone until the copy is done, unless it is pageable memory that is read.
  virtual void copy(void* to, const void* from, size_t num_bytes) = 0;
  // Rows of memory of this device, each that many bytes after the one before.
  virtual void copy_rows(const RowCopy& rows) = 0;
  virtual void clear(void* to, size_t num_bytes) = 0;  // to zeros
  virtual std::shared_ptr<const EventState> record() = 0;
  // Later work starts after the event. False: it is of another kind, which this queue cannot wait for.
  virtual bool wait_for(const EventState& event) = 0;
  virtual void synchronize() = 0;
  virtual std::shared_ptr<const TimePoint> mark_time() = 0;  // after what was given so far; null where time is not told
  virtual CUstream_st* native() const = 0;  // null where there is none
};

}  // namespace longspan
