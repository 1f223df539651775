#include "attention/head_exchange.h"

#include <algorithm>
#include <map>

#include "core/kernels/elementwise.h"

namespace longspan {

namespace {

using Messages = std::vector<std::vector<Tensor>>;  // by rank and part

// Posts every message to and from other ranks. As two ranks may have different numbers of parts, all send as many messages as the
// one with most.
std::vector<Work> post_all(Context& context, Communicator& ranks, const HeadTable& table, const Messages& leaving,
                           const Messages& arriving, DType dtype) {
  size_t num_messages = 0;
  for (const auto& parts : table) num_messages = std::max(num_messages, parts.size());
  const TraceRange range(context.tracer(), TimeCategory::kCommunication, kHeadTransfer);
  const Tensor nothing = context.empty({0}, dtype, MemoryTag::kCommunication);
  const auto message = [&](const std::vector<Tensor>& parts, size_t i) { return i < parts.size() ? parts[i] : nothing; };
  std::vector<Work> works;
  for (int step = 1; step < ranks.size(); ++step) {
    const int to = (ranks.rank() + step) % ranks.size(), from = (ranks.rank() - step + ranks.size()) % ranks.size();
    for (size_t i = 0; i < num_messages; ++i) {
      works.push_back(ranks.send_recv(context.stream(), {.send = message(leaving[static_cast<size_t>(to)], i),
                                                         .to = to,
                                                         .receive = message(arriving[static_cast<size_t>(from)], i),
                                                         .from = from}));
    }
  }
  return works;
}

void wait_all(std::vector<Work>& works) {
  for (Work& work : works) work.wait();
  works.clear();
}

void check_group(const HeadGroup& group, const HeadTable& table) {
  const auto size = static_cast<size_t>(group.ranks.size());
  check(group.places.size() == size && table.size() == size, "{} ranks exchange heads by a table of {} for tokens of {}",
        size, table.size(), group.places.size());
}

}  // namespace

int64_t HeadGroup::num_tokens(int rank) const { return longspan::num_tokens(places[static_cast<size_t>(rank)]); }

int64_t HeadGroup::total_tokens() const {
  int64_t total = 0;
  for (const IndexRanges& of_rank : places) total += longspan::num_tokens(of_rank);
  return total;
}

HeadGather::HeadGather(Context& context, const HeadGroup& group, const HeadTable& table, const Tensor& x)
    : context_(context), group_(group), table_(table), x_(x) {
  check_group(group, table);
  const auto me = static_cast<size_t>(group.ranks.rank());
  expect_shape(x, {group.num_tokens(group.ranks.rank()), x.size(1), x.size(2)}, "the tokens whose heads are exchanged");
  Messages leaving(table.size());
  arriving_.resize(table.size());
  for (size_t rank = 0; rank < table.size(); ++rank) {
    if (rank == me) continue;
    for (const HeadRange& heads : table[rank]) leaving[rank].push_back(packed(heads));
    for (const HeadRange& heads : table[me]) {
      arriving_[rank].push_back(context.empty({group.num_tokens(static_cast<int>(rank)), heads.size(), x.size(2)}, x.dtype(),
                                              MemoryTag::kCommunication));
    }
  }
  works_ = post_all(context, group.ranks, table, leaving, arriving_, x.dtype());
  last_packed_ = {};
}

// The heads of all of this rank's tokens without gaps. Ranks that want the same heads get the same tensor.
Tensor HeadGather::packed(const HeadRange& heads) {
  if (heads == last_heads_ && last_packed_.defined()) return last_packed_;
  const Tensor columns = x_.slice(1, heads.begin, heads.end);
  last_heads_ = heads;
  last_packed_ = columns;
  if (!columns.layout().is_contiguous()) {
    last_packed_ = context_.empty(columns.shape(), x_.dtype(), MemoryTag::kCommunication);
    context_.copy_rows(columns, last_packed_);
  }
  return last_packed_;
}

std::vector<Tensor> HeadGather::finish(MemoryTag tag) {
  const auto me = static_cast<size_t>(group_.ranks.rank());
  wait_all(works_);
  std::vector<Tensor> parts;
  for (size_t i = 0; i < table_[me].size(); ++i) {
    const HeadRange& heads = table_[me][i];
    const Tensor part = context_.empty({group_.total_tokens(), heads.size(), x_.size(2)}, x_.dtype(), tag);
    for (size_t rank = 0; rank < table_.size(); ++rank) {
      const Tensor rows = rank == me ? x_.slice(1, heads.begin, heads.end) : arriving_[rank][i];
      place_rows(context_, rows, group_.places[rank], part);
    }
    parts.push_back(part);
  }
  arriving_.clear();
  x_ = {};
  return parts;
}

HeadScatter::HeadScatter(Context& context, const HeadGroup& group, const HeadTable& table,
                         const std::vector<Tensor>& parts)
    : context_(context), group_(group), table_(table), head_dim_(parts.front().size(2)) {
  check_group(group, table);
  const int me = group.ranks.rank();
  const auto& mine = table[static_cast<size_t>(me)];
  const DType dtype = parts.front().dtype();
  check(parts.size() == mine.size(), "{} parts of heads for {} in the table", parts.size(), mine.size());
  for (size_t i = 0; i < mine.size(); ++i) {
    expect_shape(parts[i], {group.total_tokens(), mine[i].size(), head_dim_}, "a part of the exchanged heads");
  }
  Messages leaving(table.size());
  arriving_.resize(table.size());
  for (int rank = 0; rank < group.ranks.size(); ++rank) {
    auto& here = (rank == me ? arriving_ : leaving)[static_cast<size_t>(rank)];
    for (const Tensor& part : parts) here.push_back(packed(part, rank));
    if (rank == me) continue;
    for (const HeadRange& heads : table[static_cast<size_t>(rank)]) {
      arriving_[static_cast<size_t>(rank)].push_back(
          context.empty({group.num_tokens(me), heads.size(), head_dim_}, dtype, MemoryTag::kCommunication));
    }
  }
  works_ = post_all(context, group.ranks, table, leaving, arriving_, dtype);
}

// What a rank's tokens have in the part, without gaps.
Tensor HeadScatter::packed(const Tensor& part, int rank) {
  const IndexRanges& places = group_.places[static_cast<size_t>(rank)];
  if (is_one_run(places)) return run_of(part, places);
  const Tensor rows = context_.empty({group_.num_tokens(rank), part.size(1), head_dim_}, part.dtype(),
                                     MemoryTag::kCommunication);
  take_rows(context_, part, places, rows);
  return rows;
}

Tensor HeadScatter::finish() {
  wait_all(works_);
  std::map<int64_t, std::pair<HeadRange, Tensor>> sums;  // by first head
  int64_t heads_end = 0;
  for (size_t rank = 0; rank < table_.size(); ++rank) {
    for (size_t i = 0; i < table_[rank].size(); ++i) {
      const HeadRange& heads = table_[rank][i];
      const auto [at, is_first] = sums.emplace(heads.begin, std::pair(heads, arriving_[rank][i]));
      heads_end = std::max(heads_end, heads.end);
      if (is_first) continue;
      check(at->second.first == heads, "heads [{}, {}) and [{}, {}) overlap", heads.begin, heads.end,
            at->second.first.begin, at->second.first.end);
      context_.kernels<Elementwise>().accumulate(context_, arriving_[rank][i], at->second.second);
    }
  }
  const Tensor& first = sums.begin()->second.second;
  // A part of what was attended with would keep all of that.
  if (sums.size() == 1 && first.num_bytes() == first.storage_bytes()) return first;
  const int64_t first_head = sums.begin()->first;
  const Tensor whole = context_.empty({first.size(0), heads_end - first_head, head_dim_}, first.dtype());
  for (const auto& [begin, sum] : sums) {
    context_.copy_rows(sum.second, whole.slice(1, begin - first_head, sum.first.end - first_head));
  }
  arriving_.clear();
  return whole;
}

}  // namespace longspan
