#include "core/runtime/trace.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "core/base/error.h"
#include "core/runtime/stream.h"

namespace longspan {

namespace {

constexpr size_t kUsualDepth = 64;  // of ranges; deeper ones cost an allocation
constexpr int kTries = 5;           // to tie two clocks

int64_t steady_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

bool keeps_inner_ranges(TimeCategory category) {
  return category == TimeCategory::kCheckpoint || category == TimeCategory::kEvaluation;
}

}  // namespace

std::string_view name(TimeCategory category) {
  constexpr std::string_view kNames[kNumTimeCategories] = {"step", "compute",    "communication",
                                                           "data", "checkpoint", "evaluation"};
  return kNames[static_cast<int>(category)];
}

Tracer::Tracer(Options options)
    : options_(std::move(options)),
      events_(ResourceAllocator<TraceEvent>(options_.memory, MemoryTag::kWorkspace)),
      times_(ResourceAllocator<Times>(options_.memory, MemoryTag::kWorkspace)) {
  if (!options_.clock) options_.clock = steady_ns;
  frames_.reserve(kUsualDepth);
  last_ns_ = now_ns();
}

void Tracer::advance(int64_t now) noexcept {
  const TimeCategory category = frames_.empty() ? TimeCategory::kNone : frames_.back().counted;
  const int64_t passed = now - last_ns_;
  nanoseconds_[static_cast<size_t>(category)] += passed;
  if (num_transfers_ > 0 && category != TimeCategory::kCommunication) since_progress_ns_ += passed;
  last_ns_ = now;
}

TimeBreakdown Tracer::so_far() {
  advance(now_ns());
  TimeBreakdown breakdown;
  for (size_t i = 0; i < nanoseconds_.size(); ++i) breakdown.seconds[i] = 1e-9 * static_cast<double>(nanoseconds_[i]);
  breakdown.hidden_communication_seconds = 1e-9 * static_cast<double>(hidden_ns_);
  return breakdown;
}

TimeBreakdown Tracer::take() {
  const TimeBreakdown breakdown = so_far();
  nanoseconds_ = {};
  hidden_ns_ = 0;
  return breakdown;
}

TraceArgs Tracer::completed(TraceArgs args) const noexcept {
  if (frames_.empty()) return args;
  const TraceArgs& outer = frames_.back().args;
  if (args.step < 0) args.step = outer.step;
  if (args.microbatch < 0) args.microbatch = outer.microbatch;
  if (args.block < 0) args.block = outer.block;
  if (args.layer < 0) args.layer = outer.layer;
  if (args.hop < 0) args.hop = outer.hop;
  return args;
}

void Tracer::begin(TimeCategory category, const char* name, const TraceArgs& args) {
  const int64_t now = now_ns();
  advance(now);
  const bool kept = !frames_.empty() && keeps_inner_ranges(frames_.back().counted);
  frames_.push_back({.category = category,
                     .counted = kept ? frames_.back().counted : category,
                     .name = name,
                     .begin_ns = now,
                     .args = completed(args),
                     .on_device = category == TimeCategory::kCommunication ? nullptr : mark_compute()});
}

void Tracer::end() noexcept {
  const int64_t now = now_ns();
  advance(now);
  Frame& frame = frames_.back();
  const TraceEvent event = {.kind = TraceEvent::Kind::kRange,
                            .category = frame.category,
                            .name = frame.name,
                            .begin_ns = frame.begin_ns,
                            .end_ns = now,
                            .args = frame.args};
  auto on_device = std::move(frame.on_device);
  frames_.pop_back();
  keep(event);
  if (!on_device || !times_streams()) return;
  StreamSpan span = {.event = event, .begin = std::move(on_device), .end = mark_compute()};
  span.event.stream = TraceEvent::kComputeStream;
  keep(std::move(span));
}

TraceEvent Tracer::begin_transfer(const TraceArgs& args) {
  const int64_t now = now_ns();
  advance(now);
  ++num_transfers_;
  return {.kind = TraceEvent::Kind::kTransfer,
          .category = TimeCategory::kCommunication,
          .name = frames_.empty() ? "transfer" : frames_.back().name,
          .begin_ns = now,
          .end_ns = now,
          .args = completed(args)};
}

void Tracer::end_transfer(TraceEvent transfer) noexcept {
  transfer.end_ns = now_ns();
  advance(transfer.end_ns);
  --num_transfers_;
  since_progress_ns_ = 0;
  keep(transfer);
}

void Tracer::let_on() noexcept {
  advance(now_ns());
  hidden_ns_ += since_progress_ns_;
  since_progress_ns_ = 0;
}

void Tracer::start_recording(size_t capacity) {
  check(capacity_ == 0 && capacity > 0, "a recording of {} events was started over one of {}", capacity, capacity_);
  stream_keys_.clear();
  stream_names_.clear();
  tie_clocks();
  events_.reserve(capacity);
  if (times_streams()) times_.reserve(capacity);
  capacity_ = capacity;
  num_lost_ = 0;
  recording_since_ns_ = now_ns();
}

// The quickest of some round trips to the device says best when it passed the point between.
void Tracer::tie_clocks() {
  const auto compute = compute_.lock();
  if (!compute) return;
  int64_t quickest = std::numeric_limits<int64_t>::max();
  compute->synchronize();
  for (int i = 0; i < kTries; ++i) {
    const int64_t before = now_ns();
    auto point = compute->mark_time();
    compute->synchronize();
    const int64_t passed = now_ns() - before;
    if (!point || passed >= quickest) continue;
    quickest = passed;
    origin_ = std::move(point);
    origin_ns_ = before + passed / 2;
  }
  if (!origin_) return;
  stream_keys_ = {compute.get()};
  stream_names_ = {"compute stream"};
}

HostVector<TraceEvent> Tracer::stop_recording() {
  capacity_ = 0;
  if (const auto compute = compute_.lock(); compute && origin_) compute->synchronize();
  for (const Times& times : times_) {
    TraceEvent& event = events_[times.event];
    event.begin_ns = origin_ns_ + times.begin->ns_since(*origin_);
    event.end_ns = origin_ns_ + times.end->ns_since(*origin_);
  }
  times_ = HostVector<Times>(times_.get_allocator());
  origin_.reset();
  return std::exchange(events_, HostVector<TraceEvent>(events_.get_allocator()));
}

bool Tracer::keep(const TraceEvent& event) noexcept {
  if (capacity_ == 0 || event.begin_ns < recording_since_ns_) return false;
  // There must be room for the ranges around it, which end later and say more.
  const size_t reserved = frames_.size() * (times_streams() ? 2 : 1);
  if (events_.size() + reserved < capacity_) {
    events_.push_back(event);
    return true;
  }
  ++num_lost_;
  return false;
}

// A range ends while an exception unwinds, too: a device that fails costs the span alone here, and shows elsewhere.
std::shared_ptr<const TimePoint> Tracer::mark_compute() noexcept {
  if (!times_streams()) return nullptr;
  try {
    const auto compute = compute_.lock();
    return compute ? compute->mark_time() : nullptr;
  } catch (const std::exception&) {
    return nullptr;
  }
}

StreamSpan Tracer::begin_on_stream(const void* key, const std::string& name, const TraceArgs& args,
                                   std::shared_ptr<const TimePoint> begin) {
  const auto known = std::find(stream_keys_.begin(), stream_keys_.end(), key);
  StreamSpan span = {.event = {.kind = TraceEvent::Kind::kTransfer,
                               .category = TimeCategory::kCommunication,
                               .name = frames_.empty() ? "transfer" : frames_.back().name,
                               .begin_ns = now_ns(),
                               .end_ns = 0,
                               .args = completed(args),
                               .stream = static_cast<int>(known - stream_keys_.begin())},
                     .begin = std::move(begin),
                     .end = nullptr};
  if (known == stream_keys_.end()) {
    stream_keys_.push_back(key);
    stream_names_.push_back(name);
  }
  return span;
}

void Tracer::keep(StreamSpan span) noexcept {
  if (!times_streams()) return;
  if (!span.begin || !span.end) {
    ++num_lost_;
  } else if (keep(span.event)) {
    times_.push_back({.event = events_.size() - 1, .begin = std::move(span.begin), .end = std::move(span.end)});
  }
}

}  // namespace longspan
