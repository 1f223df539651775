// A device of virtual time: how long its work takes is what a test says, and what overlaps does not depend on the machine.
//
// The host's clock goes on by a microsecond at each look, and to the end of what it waits for. A stream begins what it is given
// when it is done with what came before, but not earlier than it is given. Bytes move at once. The device has a clock of its own,
// which is ahead of the host's. Of one rank's thread.
#pragma once

#include <algorithm>
#include <cstring>

#include "core/runtime/stream.h"

namespace longspan::test {

class VirtualDevice {
 public:
  static constexpr int64_t kAheadNs = 7'000'000'000'000;

  int64_t now_ns() { return now_ns_ += 1000; }
  void wait_until(int64_t ns) { now_ns_ = std::max(now_ns_, ns); }
  bool has_passed(int64_t ns) { return now_ns() >= ns; }
  int num_marks() const { return num_marks_; }

  // What a stream has to do.
  class Timeline {
   public:
    explicit Timeline(VirtualDevice& device) : device_(device) {}
    int64_t end() const { return std::max(end_, device_.now_ns_); }  // of all that it was given
    void work(int64_t ns) { end_ = end() + ns; }
    void begin_after(int64_t ns) { end_ = std::max(end_, ns); }
    std::shared_ptr<const TimePoint> mark_time() {
      ++device_.num_marks_;
      return std::make_shared<Moment>(end() + kAheadNs);
    }

   private:
    VirtualDevice& device_;
    int64_t end_ = 0;
  };
  Timeline& compute() { return compute_; }
  // The compute stream; the device must outlive it.
  std::shared_ptr<Stream> stream() { return Stream::make_on_device(std::make_unique<Queue>(*this)); }

 private:
  class Moment final : public TimePoint {
   public:
    explicit Moment(int64_t at_ns) : at_ns_(at_ns) {}
    int64_t ns_since(const TimePoint& earlier) const override { return at_ns_ - dynamic_cast<const Moment&>(earlier).at_ns_; }

   private:
    int64_t at_ns_;
  };

  class Reached final : public EventState {
   public:
    explicit Reached(VirtualDevice& device) : device_(device), at_ns_(device.compute_.end()) {}
    bool done() const override { return device_.has_passed(at_ns_); }
    bool wait(std::chrono::milliseconds timeout) const override {
      const int64_t latest_ns = device_.now_ns() + std::chrono::nanoseconds(timeout).count();
      device_.wait_until(std::min(at_ns_, latest_ns));
      return at_ns_ <= latest_ns;
    }

   private:
    VirtualDevice& device_;
    int64_t at_ns_;
  };

  class Queue final : public DeviceQueue {
   public:
    explicit Queue(VirtualDevice& device) : device_(device) {}
    void copy(void* to, const void* from, size_t num_bytes) override { std::memcpy(to, from, num_bytes); }
    void copy_rows(const RowCopy& rows) override {
      for (size_t row = 0; row < rows.num_rows; ++row) {
        std::memcpy(static_cast<std::byte*>(rows.to) + row * rows.to_pitch,
                    static_cast<const std::byte*>(rows.from) + row * rows.from_pitch, rows.row_bytes);
      }
    }
    void clear(void* to, size_t num_bytes) override { std::memset(to, 0, num_bytes); }
    std::shared_ptr<const EventState> record() override { return std::make_shared<Reached>(device_); }
    bool wait_for(const EventState&) override { return true; }  // of this stream, the only one that others see
    void synchronize() override { device_.wait_until(device_.compute_.end()); }
    std::shared_ptr<const TimePoint> mark_time() override { return device_.compute_.mark_time(); }
    CUstream_st* native() const override { return nullptr; }

   private:
    VirtualDevice& device_;
  };

  int64_t now_ns_ = 0;
  int num_marks_ = 0;
  Timeline compute_{*this};
};

}  // namespace longspan::test
