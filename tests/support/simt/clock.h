// Clock: what a thread of an emulated launch knows to have happened (a vector clock; Mattern 1989).
//
// Of its own block: how far each thread had come, and through which phase each mbarrier; of other blocks the same, as far as
// atomics on global memory told. Barriers join clocks. Two accesses are a race unless one knows of the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

namespace longspan::simt {

using BlockId = uint64_t;

class Clock {
 public:
  void start(size_t num_entries, size_t own) {
    own_.assign(num_entries, 0);
    own_[own] = 1;
  }
  bool empty() const { return own_.empty() && others_.empty(); }
  void clear() {
    own_.clear();
    others_.clear();
  }
  uint32_t operator[](size_t entry) const { return entry < own_.size() ? own_[entry] : 0; }
  void advance(size_t entry) { ++own_[entry]; }
  void reach(size_t entry, uint32_t value) {
    if (own_.size() <= entry) own_.resize(entry + 1);
    own_[entry] = std::max(own_[entry], value);
  }
  // The first entry of which `others` is further than this knows; its end: none.
  size_t first_unknown(const std::vector<uint32_t>& others) const {
    bool behind = false;
    const size_t both = std::min(own_.size(), others.size());
    for (size_t i = 0; i < both; ++i) behind |= others[i] > own_[i];
    size_t i = behind ? 0 : both;
    while (i < others.size() && others[i] <= (*this)[i]) ++i;
    return i;
  }

  void join(const Clock& other) {  // of the same block
    join(own_, other.own_);
    for (const auto& [block, entries] : other.others_) join(others_[block], entries);
  }
  // What a thread of block `from` knew becomes known to one of block `to`.
  void join_across(BlockId to, BlockId from, const Clock& other) {
    join(from == to ? own_ : others_[from], other.own_);
    for (const auto& [block, entries] : other.others_) join(block == to ? own_ : others_[block], entries);
  }
  uint32_t of_other(BlockId block, size_t entry) const {
    const auto it = others_.find(block);
    return it == others_.end() || entry >= it->second.size() ? 0 : it->second[entry];
  }

 private:
  using Entries = std::vector<uint32_t>;
  static void join(Entries& to, const Entries& from) {
    if (to.size() < from.size()) to.resize(from.size());
    for (size_t i = 0; i < from.size(); ++i) to[i] = std::max(to[i], from[i]);
  }
  Entries own_;
  std::map<BlockId, Entries> others_;
};

}  // namespace longspan::simt
