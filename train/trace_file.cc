#include "train/trace_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <optional>
#include <vector>

#include "train/formats/atomic_file.h"

namespace longspan {

namespace {

constexpr int kFirstTransferRow = kNumTimeCategories;
constexpr int kFirstStreamRow = 1 << 16;  // more transfers are never under way at once
constexpr int kMostStreams = 1 << 10;

// Steps are on the row of compute, around it.
int row_of(TimeCategory category) {
  return static_cast<int>(category == TimeCategory::kNone ? TimeCategory::kCompute : category);
}

// The row of each event. Transfers overlap, so each takes the first of their rows that is free.
std::vector<int> rows_of(std::span<const TraceEvent> events) {
  std::vector<int> rows(events.size());
  std::vector<size_t> transfers;
  for (size_t i = 0; i < events.size(); ++i) {
    const int stream = events[i].stream;
    rows[i] = stream == TraceEvent::kHost ? row_of(events[i].category) : kFirstStreamRow + stream;
    if (stream == TraceEvent::kHost && events[i].kind == TraceEvent::Kind::kTransfer) transfers.push_back(i);
  }
  std::sort(transfers.begin(), transfers.end(),
            [&](size_t a, size_t b) { return events[a].begin_ns < events[b].begin_ns; });
  std::vector<int64_t> free_from;
  for (const size_t i : transfers) {
    const auto free =
        std::find_if(free_from.begin(), free_from.end(), [&](int64_t t) { return t <= events[i].begin_ns; });
    rows[i] = kFirstTransferRow + static_cast<int>(free - free_from.begin());
    if (free == free_from.end()) {
      free_from.push_back(events[i].end_ns);
    } else {
      *free = events[i].end_ns;
    }
  }
  return rows;
}

std::string row_name(int row, std::span<const std::string> streams) {
  if (row >= kFirstStreamRow) return streams[static_cast<size_t>(row - kFirstStreamRow)];
  const std::string whose = streams.empty() ? "" : "host: ";
  if (row < kFirstTransferRow) return whose + std::string(name(static_cast<TimeCategory>(row)));
  if (row == kFirstTransferRow) return whose + "transfers";
  return whose + fmt::format("transfers {}", row - kFirstTransferRow + 1);
}

// A device's streams on top; transfers below communication, what is rare below both.
int place_of(int row) {
  if (row >= kFirstStreamRow) return row - kFirstStreamRow;
  const bool rare = row > row_of(TimeCategory::kCommunication) && row < kFirstTransferRow;
  return kMostStreams + row + (rare ? kFirstStreamRow : 0);
}

template <class Out>
void append_args(Out out, const TraceArgs& args) {
  const std::pair<const char*, int64_t> numbers[] = {{"step", args.step},   {"microbatch", args.microbatch},
                                                     {"block", args.block}, {"layer", args.layer},
                                                     {"hop", args.hop},     {"to", args.to},
                                                     {"from", args.from},   {"bytes", args.bytes}};
  const char* separator = "";
  for (const auto& [key, value] : numbers) {
    if (value < 0) continue;
    fmt::format_to(out, R"({}"{}":{})", separator, key, value);
    separator = ",";
  }
}

double microseconds(int64_t nanoseconds) {
  return 1e-3 * static_cast<double>(nanoseconds);
}

}  // namespace

std::string trace_objects(const RankTrace& trace, const ReferenceClock& clock, int64_t origin_ns) {
  std::string text;
  const auto out = std::back_inserter(text);
  const auto about = [&](const char* what, int row, const std::string& args) {
    fmt::format_to(out, R"({{"name":"{}","ph":"M","pid":{},"tid":{},"args":{{{}}}}},)", what, trace.rank, row, args);
    text += '\n';
  };
  about("process_name", 0, fmt::format(R"("name":"rank {}")", trace.rank));
  about("process_sort_index", 0, fmt::format(R"("sort_index":{})", trace.rank));
  about("process_labels", 0,
        fmt::format(R"("labels":"clock within {:.1f} us, {} events lost")", microseconds(clock.uncertainty_ns()),
                    trace.num_lost));
  const std::vector<int> rows = rows_of(trace.events);
  std::vector<int> used = rows;
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  for (const int row : used) {
    about("thread_name", row, fmt::format(R"("name":"{}")", row_name(row, trace.streams)));
    about("thread_sort_index", row, fmt::format(R"("sort_index":{})", place_of(row)));
  }
  for (size_t i = 0; i < trace.events.size(); ++i) {
    const TraceEvent& event = trace.events[i];
    const int64_t begin_ns = clock.from_local(event.begin_ns), end_ns = clock.from_local(event.end_ns);
    fmt::format_to(out, R"({{"name":"{}","cat":"{}","ph":"X","ts":{:.3f},"dur":{:.3f},"pid":{},"tid":{},"args":{{)",
                   event.name, name(event.category), microseconds(begin_ns - origin_ns),
                   microseconds(end_ns - begin_ns), trace.rank, rows[i]);
    append_args(out, event.args);
    text += "}},\n";
  }
  text.resize(text.size() - 2);  // the last comma
  return text;
}

void make_trace_folder(const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) raise(ErrorKind::kResource, "metrics.trace_steps: {} cannot be made: {}", folder, error.message());
}

std::string write_trace_file(const Context& context, Communicator& world, const std::string& path,
                             const std::string& objects) {
  const Tensor nothing = context.empty({0}, DType::kUInt8, MemoryTag::kWorkspace);
  const Tensor sizes = context.zeros({world.size()}, DType::kInt64, MemoryTag::kWorkspace);
  sizes.data<int64_t>()[world.rank()] = static_cast<int64_t>(objects.size());
  world.all_reduce(context.stream(), sizes, ReduceOp::kSum);
  if (world.rank() != 0) {
    const Tensor part = context.empty({static_cast<int64_t>(objects.size())}, DType::kUInt8, MemoryTag::kWorkspace);
    std::memcpy(part.raw(), objects.data(), objects.size());
    world.send_recv(context.stream(), {.send = part, .to = 0, .receive = nothing, .from = 0}).wait();
    return "";
  }
  std::string failure;
  const auto attempt = [&failure](const auto& write) {
    try {
      if (failure.empty()) write();
    } catch (const Error& error) {
      failure = error.what();
    }
  };
  std::optional<AtomicFile> file;
  attempt([&] {
    file.emplace(path, ErrorKind::kResource);
    file->write("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    file->write(objects);
  });
  // Each peer waits until its part is taken, whatever becomes of it.
  for (int peer = 1; peer < world.size(); ++peer) {
    const Tensor part = context.empty({sizes.data<int64_t>()[peer]}, DType::kUInt8, MemoryTag::kWorkspace);
    world.send_recv(context.stream(), {.send = nothing, .to = peer, .receive = part, .from = peer}).wait();
    attempt([&] {
      file->write(",\n");
      file->write(std::string_view(static_cast<const char*>(part.raw()), part.num_bytes()));
    });
  }
  attempt([&] {
    file->write("\n]}\n");
    file->commit();
  });
  return failure;
}

}  // namespace longspan
