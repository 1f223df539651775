#include "core/runtime/trace.h"

#include <chrono>

#include "core/base/error.h"

namespace longspan {

namespace {

constexpr size_t kUsualDepth = 64;  // of ranges; deeper ones cost an allocation

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
    : options_(std::move(options)), events_(ResourceAllocator<TraceEvent>(options_.memory, MemoryTag::kWorkspace)) {
  if (!options_.clock) options_.clock = steady_ns;
  frames_.reserve(kUsualDepth);
  last_ns_ = now_ns();
}

void Tracer::advance(int64_t now) noexcept {
  const TimeCategory category = frames_.empty() ? TimeCategory::kNone : frames_.back().counted;
  const int64_t passed = now - last_ns_;
  nanoseconds_[static_cast<size_t>(category)] += passed;
  if (num_transfers_ > 0 && category != TimeCategory::kCommunication) hidden_ns_ += passed;
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
                     .args = completed(args)});
}

void Tracer::end() noexcept {
  const int64_t now = now_ns();
  advance(now);
  const Frame& frame = frames_.back();
  const TraceEvent event = {.kind = TraceEvent::Kind::kRange,
                            .category = frame.category,
                            .name = frame.name,
                            .begin_ns = frame.begin_ns,
                            .end_ns = now,
                            .args = frame.args};
  frames_.pop_back();
  keep(event);
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
  keep(transfer);
}

void Tracer::start_recording(size_t capacity) {
  check(capacity_ == 0 && capacity > 0, "a recording of {} events was started over one of {}", capacity, capacity_);
  events_.reserve(capacity);
  capacity_ = capacity;
  num_lost_ = 0;
  recording_since_ns_ = now_ns();
}

HostVector<TraceEvent> Tracer::stop_recording() {
  capacity_ = 0;
  return std::exchange(events_, HostVector<TraceEvent>(events_.get_allocator()));
}

void Tracer::keep(const TraceEvent& event) noexcept {
  if (capacity_ == 0 || event.begin_ns < recording_since_ns_) return;
  // There must be room for the ranges around it, which end later and say more.
  if (events_.size() + frames_.size() < capacity_) {
    events_.push_back(event);
  } else {
    ++num_lost_;
  }
}

}  // namespace longspan
