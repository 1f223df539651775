#include "tests/support/simt/shared_memory.h"

#include <algorithm>

#include "tests/support/simt/barriers.h"
#include "tests/support/simt/mutation.h"
#include "tests/support/simt/scheduler.h"

namespace longspan::simt {

namespace {

constexpr uint32_t kWordsOfGranule = kGranuleBytes / kWordBytes;

// Whether the thread has met a wait that covers product `number` of the warpgroup.
bool knows_product_done(const Block& block, const Clock& clock, uint32_t warpgroup, uint64_t number) {
  int warps = 0;
  for (int w = 0; w < kWarpsPerWarpgroup; ++w) {
    const auto& waits = block.warpgroups[warpgroup].waits[w];
    const auto wait = std::find_if(waits.begin(), waits.end(), [&](const auto& each) { return each.target > number; });
    if (wait == waits.end()) continue;
    const uint32_t first = (warpgroup * kWarpsPerWarpgroup + static_cast<uint32_t>(w)) * kWarpSize;
    bool known = false;
    for (uint32_t lane = 0; lane < kWarpSize; ++lane) known |= clock[first + lane] >= wait->clocks[lane];
    warps += known;
  }
  return warps >= (options().strict_warpgroups ? kWarpsPerWarpgroup : 1);
}

void expect_after_asynchronous(const Block& block, const Thread& thread, uint32_t granule, const char* what) {
  const Granule& touched = block.granules[granule];
  if (touched.copied_by != kNobody && thread.clock[touched.copied_by] < touched.copied_at)
    fault("race: {} at shared address {:#x} not ordered after the copy into it", what, address_of(granule));
  for (const auto& [warpgroup, number] : touched.warpgroup_reads)
    if (!knows_product_done(block, thread.clock, warpgroup, number))
      fault("race: {} at shared address {:#x} not ordered after the wgmma of warpgroup {} that reads it", what,
            address_of(granule), warpgroup);
}

void expect_after_threads(const Block& block, const Thread& thread, const Word& word, uint32_t address, bool write,
                          const char* what) {
  if (word.writer != kNobody && word.writer != thread.id && thread.clock[word.writer] < word.written_at)
    fault("race: {} of shared address {:#x} not ordered after the write by thread {}", what, address, word.writer);
  if (!write) return;
  size_t unknown = block.num_threads;
  if (word.unordered_reads >= 0)
    unknown = thread.clock.first_unknown(block.unordered_reads[static_cast<size_t>(word.unordered_reads)]);
  else if (word.reader != kNobody && word.reader != thread.id && thread.clock[word.reader] < word.read_at)
    unknown = word.reader;
  if (unknown != block.num_threads)
    fault("race: {} of shared address {:#x} not ordered after the read by thread {}", what, address, unknown);
}

void forget(Block& block, Word& word) {
  if (word.unordered_reads >= 0) block.free_unordered_reads.push_back(word.unordered_reads);
  word = Word{};
}

int32_t new_unordered_reads(Block& block) {
  if (block.free_unordered_reads.empty()) {
    block.unordered_reads.emplace_back();
    return static_cast<int32_t>(block.unordered_reads.size() - 1);
  }
  const int32_t place = block.free_unordered_reads.back();
  block.free_unordered_reads.pop_back();
  return place;
}

void remember(Block& block, Word& word, const Thread& thread, bool write) {
  const uint32_t now = thread.clock[thread.id];
  if (write) {
    forget(block, word);
    word.writer = thread.id;
    word.written_at = now;
    return;
  }
  if (word.unordered_reads < 0) {
    if (word.reader == kNobody || word.reader == thread.id || thread.clock[word.reader] >= word.read_at) {
      word.reader = thread.id;
      word.read_at = now;
      return;
    }
    word.unordered_reads = new_unordered_reads(block);
    auto& reads = block.unordered_reads[static_cast<size_t>(word.unordered_reads)];
    reads.assign(block.num_threads, 0);
    reads[word.reader] = word.read_at;
  }
  block.unordered_reads[static_cast<size_t>(word.unordered_reads)][thread.id] = now;
}

// Until no more than `unit` words of the granule have one shadow.
void split(Block& block, uint32_t g, uint32_t unit) {
  uint32_t& kept = block.granules[g].unit;
  for (; kept > unit; kept /= 2) {
    for (uint32_t w = g * kWordsOfGranule; w < (g + 1) * kWordsOfGranule; w += kept) {
      Word& half = block.words[w + kept / 2];
      half = block.words[w];
      if (half.unordered_reads < 0) continue;
      half.unordered_reads = new_unordered_reads(block);
      block.unordered_reads[static_cast<size_t>(half.unordered_reads)] =
          block.unordered_reads[static_cast<size_t>(block.words[w].unordered_reads)];
    }
  }
}

// Calls visit(word, its address) for each shadow of [begin, end), bytes of one granule.
template <class Visit>
void for_each_word(Block& block, uint32_t begin, uint32_t end, Visit visit) {
  const uint32_t g = begin / kGranuleBytes, both = begin | (end - begin);
  split(block, g, std::max(1u, (both & -both) / kWordBytes));
  for (uint32_t w = begin / kWordBytes; w * kWordBytes < end; w += block.granules[g].unit)
    visit(block.words[w], w * kWordBytes + kSharedBase);
}

void forget_granule(Block& block, uint32_t g) {
  for_each_word(block, g * kGranuleBytes, (g + 1) * kGranuleBytes, [&](Word& word, uint32_t) { forget(block, word); });
  block.granules[g].unit = kWordsOfGranule;
}

void check_granules(Block& block, uint32_t offset, uint32_t num_bytes, SharedUse use) {
  Thread& thread = *current;
  for (uint32_t g = offset / kGranuleBytes; g <= (offset + num_bytes - 1) / kGranuleBytes; ++g) {
    Granule& granule = block.granules[g];
    if (granule.copies_in)
      fault("{} of shared address {:#x} while a copy into it is in flight: a wait is missing",
            use == SharedUse::kWrite ? "write" : "read", address_of(g));
    if (use != SharedUse::kWrite) continue;
    if (granule.reads_out) fault("write of shared address {:#x} while it is still read asynchronously", address_of(g));
    if (granule.dirty_by == thread.id) continue;
    granule.dirty_by = thread.id;
    thread.dirty.push_back(g);
  }
}

}  // namespace

void note_thread_access(Block& block, Thread& thread, uint32_t offset, uint32_t num_bytes, SharedUse use) {
  if (!options().check_races || &block != thread.block) return;
  const bool write = use == SharedUse::kWrite;
  const char* what = write ? "write" : "read";
  for (uint32_t g = offset / kGranuleBytes; g <= (offset + num_bytes - 1) / kGranuleBytes; ++g) {
    if (write) {
      expect_after_asynchronous(block, thread, g, what);
    } else if (const Granule& granule = block.granules[g];
               granule.copied_by != kNobody && thread.clock[granule.copied_by] < granule.copied_at) {
      fault("race: read of shared address {:#x} not ordered after the copy into it", address_of(g));
    }
  }
  for (uint32_t begin = offset; begin < offset + num_bytes;) {
    const uint32_t end = std::min(offset + num_bytes, (begin / kGranuleBytes + 1) * kGranuleBytes);
    for_each_word(block, begin, end, [&](Word& word, uint32_t address) {
      expect_after_threads(block, thread, word, address, write, what);
      if (!write || end - begin < kGranuleBytes) remember(block, word, thread, write);
    });
    if (write && end - begin == kGranuleBytes) {
      forget_granule(block, begin / kGranuleBytes);
      remember(block, block.words[begin / kWordBytes], thread, true);
    }
    begin = end;
  }
}

void note_copy_in(Block& block, Thread& thread, uint32_t granule, uint32_t clock_entry, uint32_t at) {
  if (!options().check_races) return;
  if (&block == thread.block) {
    expect_after_asynchronous(block, thread, granule, "copy");
    for_each_word(block, granule * kGranuleBytes, (granule + 1) * kGranuleBytes, [&](const Word& word, uint32_t address) {
      expect_after_threads(block, thread, word, address, true, "copy");
    });
    forget_granule(block, granule);
  }
  Granule& written = block.granules[granule];
  written.copied_by = clock_entry;
  written.copied_at = at;
  written.warpgroup_reads.clear();
}

void expect_readable_by_warpgroup(Block& block, const Warp& warp, uint32_t granule, const char* operand) {
  if (!options().check_races) return;
  const auto known = [&](uint32_t entry, uint32_t at) {
    return std::any_of(std::begin(warp.threads), std::end(warp.threads),
                       [&](const Thread* thread) { return thread->clock[entry] >= at; });
  };
  const Granule& read = block.granules[granule];
  if (read.copied_by != kNobody && !known(read.copied_by, read.copied_at))
    fault("race: wgmma reads {} at shared address {:#x} without having waited for the copy into it", operand,
          address_of(granule));
  for_each_word(block, granule * kGranuleBytes, (granule + 1) * kGranuleBytes, [&](const Word& word, uint32_t) {
    if (word.writer != kNobody && !known(word.writer, word.written_at))
      fault("race: wgmma reads {} at shared address {:#x} not ordered after the write by thread {}", operand,
            address_of(granule), word.writer);
  });
}

std::byte* shared_bytes(uint32_t address, uint32_t num_bytes, SharedUse use) {
  Block& block = block_of(address);
  const uint32_t place = address & kSharedOffsetMask;
  if (place < kSharedBase || place - kSharedBase + num_bytes > block.shared_bytes)
    fault("access of {} bytes at shared address {:#x}, outside of the block's {} bytes from {:#x} on", num_bytes, place,
          block.shared_bytes, kSharedBase);
  if (place % std::min(num_bytes, 16u)) fault("access of {} bytes at shared address {:#x} is not aligned", num_bytes, place);
  if (block.live == 0) fault("access to the shared memory of a block that has exited");
  const uint32_t offset = place - kSharedBase;
  if (use != SharedUse::kUnchecked) {
    note_thread_access(block, *current, offset, num_bytes, use);
    check_granules(block, offset, num_bytes, use);
  }
  return block.shared + offset;
}

void fence_for_copies(int line) {
  if (LS_DROPPED("fence.proxy.async", line)) return;
  begin_instruction("fence.proxy.async", line);
  Thread& thread = *current;
  for (const uint32_t g : thread.dirty) {
    Granule& granule = thread.block->granules[g];
    if (granule.dirty_by == thread.id) granule.dirty_by = kNobody;
  }
  thread.dirty.clear();
  for (auto& [offset, barrier] : thread.block->mbarriers)
    if (barrier.initialiser == current) barrier.visible = true;
}

}  // namespace longspan::simt
