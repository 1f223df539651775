// Tracer: where the time of one rank goes. TraceRange: the one call that says what the rank does now; sums of a step
// and the spans of a trace both come from it (and a profiler's ranges, where a device has one).
//
// Every range has a category. Ranges nest, and an inner one pauses the outer: each moment counts for the category of
// the innermost range, so the sums over categories, kNone for what no range covers, are the time that passed. Only
// kCheckpoint and kEvaluation keep what is inside them, since they are asked for as a whole.
//
// Communication that compute hides is no category, as it lies under the others: it is the time in which a transfer was
// under way, and let on, while the innermost range was not kCommunication. A transfer ends when this rank sees that it has, which
// is in progress() or in a wait, not when the last byte arrives. Time since the last progress() counts only if another follows
// before a transfer is waited for: a message that nobody lets on may stand still, however long it has been under way. What moves
// by itself without that is not known, and not called hidden.
//
// While recording, ranges and transfers are kept as events, up to a capacity; what does not fit is counted. Nothing is
// allocated but at the start of a recording. A tracer belongs to one thread, the rank's, like the context that owns it.
//
// On a device all this is the host's time, which gives work to streams and goes on. So while recording, a range that is not
// communication leaves a second event: from the moment at which the device's compute stream had done all that it was given before
// the range to that of the last work given in it. Whoever has a stream of the device of its own, for communication, adds
// events of that. Their times are points that the device notes as it passes them, made one by one and read when the recording
// ends. The device's clock is tied to the host's when it begins, by a point that the host waits for.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "core/runtime/device_queue.h"
#include "core/runtime/resource_allocator.h"

namespace longspan {

class Stream;

enum class TimeCategory : uint8_t { kNone, kCompute, kCommunication, kData, kCheckpoint, kEvaluation };
constexpr int kNumTimeCategories = 6;
std::string_view name(TimeCategory category);

// What a span is about; -1: does not apply. The first five are taken from the range around it where they are not given.
struct TraceArgs {
  int64_t step = -1;
  int32_t microbatch = -1, block = -1, layer = -1, hop = -1;
  int32_t to = -1, from = -1;
  int64_t bytes = -1;
};

struct TraceEvent {
  enum class Kind : uint8_t { kRange, kTransfer };
  Kind kind = Kind::kRange;
  TimeCategory category = TimeCategory::kNone;
  const char* name = "";  // of a constant
  int64_t begin_ns = 0, end_ns = 0;
  TraceArgs args;
  int stream = kHost;  // or a number of Tracer::streams()
  static constexpr int kHost = -1, kComputeStream = 0;
};

// An event of a device's stream, before its times are known.
struct StreamSpan {
  TraceEvent event;
  std::shared_ptr<const TimePoint> begin, end;
};

struct TimeBreakdown {
  std::array<double, kNumTimeCategories> seconds{};
  double hidden_communication_seconds = 0;
  double operator[](TimeCategory category) const { return seconds[static_cast<size_t>(category)]; }
};

class Tracer {
 public:
  struct Options {
    std::shared_ptr<MemoryResource> memory;  // of the events
    std::function<int64_t()> clock;          // nanoseconds, never back; default: the machine's steady clock
  };
  Tracer() : Tracer(Options()) {}
  explicit Tracer(Options options);

  int64_t now_ns() const { return options_.clock(); }
  TimeBreakdown so_far();  // since the last call of take
  TimeBreakdown take();

  void start_recording(size_t capacity);
  // The host's in the order in which they ended. Finishes the compute stream of a device.
  HostVector<TraceEvent> stop_recording();
  size_t num_lost() const { return num_lost_; }  // events of this or the last recording that did not fit

  // For a context on a device: its compute stream, which is measured in later recordings while it exists.
  void time_stream(const std::shared_ptr<Stream>& compute) { compute_ = compute; }
  // What the numbers of streams in events stand for, in this or the last recording.
  const std::vector<std::string>& streams() const { return stream_names_; }

  // For those who have another stream of the device. Whether spans of streams are recorded now; only then:
  bool times_streams() const { return origin_ != nullptr; }
  // A transfer that begins at this point of the stream `key` is the address of, called after the range it is posted in.
  StreamSpan begin_on_stream(const void* key, const std::string& name, const TraceArgs& args,
                             std::shared_ptr<const TimePoint> begin);
  void keep(StreamSpan span) noexcept;  // its end has been reached, or is on the compute stream

  // For TraceRange.
  void begin(TimeCategory category, const char* name, const TraceArgs& args);
  void end() noexcept;

  // For communicators: a transfer is named after the range it is posted in. Each one that begins must end.
  TraceEvent begin_transfer(const TraceArgs& args);
  void end_transfer(TraceEvent transfer) noexcept;
  void let_on() noexcept;  // progress() has been called: what is under way could move until now

 private:
  struct Frame {
    TimeCategory category, counted;  // as asked for; what its time counts for
    const char* name;
    int64_t begin_ns;
    TraceArgs args;
    std::shared_ptr<const TimePoint> on_device;  // its begin; null where that is not measured
  };
  struct Times {
    size_t event;  // that they belong to
    std::shared_ptr<const TimePoint> begin, end;
  };
  std::shared_ptr<const TimePoint> mark_compute() noexcept;
  void tie_clocks();
  void advance(int64_t now) noexcept;
  TraceArgs completed(TraceArgs args) const noexcept;
  bool keep(const TraceEvent& event) noexcept;  // false: it was not kept

  Options options_;
  int64_t last_ns_;
  std::array<int64_t, kNumTimeCategories> nanoseconds_{};
  int64_t hidden_ns_ = 0, since_progress_ns_ = 0;  // the second: of what is hidden if progress() follows
  int num_transfers_ = 0;  // under way
  std::vector<Frame> frames_;
  HostVector<TraceEvent> events_;
  size_t capacity_ = 0;  // 0: not recording
  int64_t recording_since_ns_ = 0;
  size_t num_lost_ = 0;

  std::weak_ptr<Stream> compute_;            // of a device
  std::shared_ptr<const TimePoint> origin_;  // while recording on a device: the point that was passed
  int64_t origin_ns_ = 0;                    // at this time of the host's clock
  HostVector<Times> times_;
  std::vector<const void*> stream_keys_;
  std::vector<std::string> stream_names_;
};

class TraceRange {
 public:
  // A null tracer measures nothing. `name` must be a constant.
  TraceRange(Tracer* tracer, TimeCategory category, const char* name, const TraceArgs& args = {}) : tracer_(tracer) {
    if (tracer_) tracer_->begin(category, name, args);
  }
  ~TraceRange() {
    if (tracer_) tracer_->end();
  }
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;

 private:
  Tracer* tracer_;
};

}  // namespace longspan
