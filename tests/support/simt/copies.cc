#include "tests/support/simt/copies.h"

#include <cstring>

#include "tests/support/simt/barriers.h"
#include "tests/support/simt/global_memory.h"
#include "tests/support/simt/mutation.h"
#include "tests/support/simt/scheduler.h"
#include "tests/support/simt/shared_memory.h"

namespace longspan::simt {

namespace {

constexpr uint32_t kPiece = 16;
constexpr std::byte kPoison{0xff};  // what is on its way

uint32_t num_rows(const TensorMap& map) {
  uint32_t rows = 1;
  for (int d = 1; d < map.rank; ++d) rows *= map.box[d];
  return rows;
}
uint32_t row_bytes(const TensorMap& map) { return map.box[0] * map.element_bytes; }

struct Box {
  TensorMap map;
  int first[kMaxTensorRank] = {};

  // Calls visit(shared address, row, byte in the row) for each piece of rows [begin, end).
  template <class Visit>
  void for_each_piece(uint32_t address, uint32_t begin, uint32_t end, Visit visit) const {
    for (uint32_t row = begin; row < end; ++row)
      for (uint32_t byte = 0; byte < row_bytes(map); byte += kPiece)
        visit(swizzled(address + row * row_bytes(map) + byte, map.swizzle), row, byte);
  }
  // Where an element of a row is in the tensor; null outside of it.
  std::byte* element(uint32_t row, uint32_t column) const {
    std::byte* place = map.base;
    for (int d = 1; d < map.rank; ++d) {
      const int64_t i = first[d] + static_cast<int64_t>(row % map.box[d]);
      row /= map.box[d];
      if (i < 0 || static_cast<uint64_t>(i) >= map.dims[d]) return nullptr;
      place += i * static_cast<int64_t>(map.strides_bytes[d]);
    }
    const int64_t i = first[0] + static_cast<int64_t>(column);
    if (i < 0 || static_cast<uint64_t>(i) >= map.dims[0]) return nullptr;
    return place + i * map.element_bytes;
  }
  template <class Visit>  // visit(byte of the piece, element or null)
  void for_each_element(uint32_t row, uint32_t byte, Visit visit) const {
    for (uint32_t b = 0; b < kPiece; b += map.element_bytes) visit(b, element(row, (byte + b) / map.element_bytes));
  }
};

Box make_box(const TensorMap* map, int rank, const int* coordinates) {
  if (reinterpret_cast<uintptr_t>(map) % 64) fault("a tensor map that is not aligned to 64 bytes");
  if (map->mark != kTensorMapMark) fault("a copy through a tensor map that was not encoded");
  if (map->rank != rank) fault("a copy of rank {} through a tensor map of rank {}", rank, map->rank);
  Box box{*map, {}};
  std::memcpy(box.first, coordinates, sizeof(int) * static_cast<size_t>(rank));
  return box;
}

void touch_box(const Box& box, Access access) {
  for (uint32_t row = 0; row < num_rows(box.map); ++row)
    for (uint32_t column = 0; column < box.map.box[0]; ++column)
      if (const std::byte* element = box.element(row, column)) touch_global(element, box.map.element_bytes, access);
}

void claim_for_load(Block& block, const Mbarrier& barrier, uint32_t address) {
  const uint32_t g = granule_of(address);
  Granule& granule = block.granules[g];
  if (granule.copies_in) fault("a copy into shared address {:#x} while another is in flight", address);
  if (granule.reads_out)
    fault("a copy into shared address {:#x} while it is still read asynchronously: released too early", address);
  if (granule.dirty_by != kNobody)
    fault("a copy over shared address {:#x}, which thread {} wrote, without fence.proxy.async", address, granule.dirty_by);
  note_copy_in(block, *current, g, barrier.entry, static_cast<uint32_t>(barrier.phase) + 1);
  granule.copies_in = 1;
  std::memset(block.shared + (address - kSharedBase), static_cast<int>(kPoison), kPiece);
}

void land(Block& block, const Box& box, uint32_t address, uint32_t row, uint32_t byte) {
  std::byte* to = block.shared + (address - kSharedBase);
  box.for_each_element(row, byte, [&](uint32_t b, const std::byte* element) {
    if (element) std::memcpy(to + b, element, box.map.element_bytes);
    else std::memset(to + b, 0, box.map.element_bytes);
  });
  block.granules[granule_of(address)].copies_in = 0;
}

void load_into(Block& block, const Box& box, uint32_t to, uint32_t mbarrier) {
  const uint32_t rows = num_rows(box.map), bytes = rows * row_bytes(box.map);
  if (to < kSharedBase || to - kSharedBase + bytes > block.shared_bytes)
    fault("a box of {} bytes at {:#x} leaves shared memory", bytes, to);
  const Mbarrier& barrier = mbarrier_at(block, mbarrier, "load");
  if (!barrier.visible) fault("a load signals mbarrier {}, whose initialisation was not fenced", barrier.name);
  box.for_each_piece(to, 0, rows, [&](uint32_t address, uint32_t, uint32_t) { claim_for_load(block, barrier, address); });
  const uint32_t cut = rows > 1 ? static_cast<uint32_t>(random() % rows) : 0;
  for (const auto& [begin, end] : {std::pair{0u, cut}, std::pair{cut, rows}}) {
    if (begin == end) continue;
    ++block.copies_under_way;
    happen_later([&block, box, to, mbarrier, begin = begin, end = end] {
      box.for_each_piece(to, begin, end, [&](uint32_t address, uint32_t row, uint32_t byte) {
        land(block, box, address, row, byte);
      });
      --block.copies_under_way;
      complete_bytes(block, mbarrier, (end - begin) * row_bytes(box.map));
    });
  }
}

void finish(AsyncCopy& copy) {
  if (copy.done) return;
  copy.done = true;
  Block& block = *copy.thread->block;
  std::byte* to = block.shared + copy.offset;
  if (copy.zeros) std::memset(to, 0, kPiece);
  if (copy.source_bytes) std::memcpy(to, copy.from, copy.source_bytes);
  Granule& granule = block.granules[copy.offset / kGranuleBytes];
  granule.copies_in = 0;
  granule.dirty_by = copy.thread->id;
  copy.thread->dirty.push_back(copy.offset / kGranuleBytes);
}

}  // namespace

void copy_async(uint32_t to, const void* from, uint32_t source_bytes, int line) {
  const bool zeros = source_bytes == kPiece || !LS_DROPPED("zeros of cp.async", line);
  begin_instruction("cp.async", line);
  if (source_bytes > 0) {
    if (reinterpret_cast<uintptr_t>(from) % kPiece) fault("cp.async from {}, which is not aligned to {}", from, kPiece);
    touch_global(from, kPiece, Access::kRead);
  }
  std::byte* place = shared_bytes(to, kPiece, SharedUse::kWrite);
  Thread& thread = *current;
  Block& block = *thread.block;
  const uint32_t g = granule_of(to);
  block.granules[g].copies_in = 1;
  std::memset(place, static_cast<int>(kPoison), kPiece);
  AsyncCopy& copy = block.async_copies.emplace_back(AsyncCopy{&thread, from, to - kSharedBase, source_bytes, zeros, false});
  thread.open_copies.push_back(&copy);
  happen_later([&copy] { finish(copy); });
}

void commit_copies(int line) {
  if (LS_DROPPED("cp.async.commit_group", line)) return;
  begin_instruction("cp.async.commit_group", line);
  current->copy_groups.push_back(std::move(current->open_copies));
  current->open_copies = {};
}

void wait_copies(int groups_left, int line) {
  if (LS_DROPPED("cp.async.wait_group", line)) return;
  begin_instruction("cp.async.wait_group", line);
  auto& groups = current->copy_groups;
  while (groups.size() > static_cast<size_t>(groups_left)) {
    for (AsyncCopy* copy : groups.front()) finish(*copy);
    for (const AsyncCopy* copy : groups.front())
      note_thread_access(*current->block, *current, copy->offset, kPiece, SharedUse::kWrite);
    groups.erase(groups.begin());
  }
}

uint32_t swizzled(uint32_t address, SwizzleBytes swizzle) {
  return address ^ (((address >> 7) & ((1u << static_cast<int>(swizzle)) - 1)) << 4);
}

bool encode_tensor_map(TensorMap& map, uint32_t element_bytes, int rank, void* base, const uint64_t* dims,
                       const uint64_t* strides_bytes, const uint32_t* box, SwizzleBytes swizzle) {
  constexpr uint64_t kMostElements = uint64_t{1} << 32, kMostStride = uint64_t{1} << 40;
  if (rank < 2 || rank > kMaxTensorRank || reinterpret_cast<uintptr_t>(base) % 16) return false;
  map = TensorMap{};
  map.base = static_cast<std::byte*>(base);
  map.rank = rank;
  map.element_bytes = element_bytes;
  map.swizzle = swizzle;
  map.strides_bytes[0] = element_bytes;
  for (int d = 0; d < rank; ++d) {
    if (dims[d] == 0 || dims[d] > kMostElements || box[d] == 0 || box[d] > 256) return false;
    map.dims[d] = dims[d];
    map.box[d] = box[d];
    if (d == 0) continue;
    if (strides_bytes[d - 1] % 16 || strides_bytes[d - 1] >= kMostStride) return false;
    map.strides_bytes[d] = strides_bytes[d - 1];
  }
  // A row shorter than what the swizzle spans is allowed by the driver and not modelled here.
  const uint32_t spans[] = {row_bytes(map), 32, 64, 128};
  if (row_bytes(map) % 16 || row_bytes(map) != spans[static_cast<int>(swizzle)]) return false;
  map.mark = kTensorMapMark;
  return true;
}

void load_box(uint32_t to, const TensorMap* map, uint32_t mbarrier, int rank, const int* coordinates, uint16_t blocks,
              int line) {
  begin_instruction("cp.async.bulk.tensor", line);
  const Box box = make_box(map, rank, coordinates);
  if (to % 128) fault("a box goes to shared address {:#x}, which is not aligned to 128", to);
  touch_box(box, Access::kRead);
  const uint32_t place = to & kSharedOffsetMask, barrier = mbarrier & kSharedOffsetMask;
  if (blocks == 0) return load_into(*current->block, box, place, barrier);
  const auto& cluster = current->block->cluster->blocks;
  for (size_t r = 0; r < cluster.size(); ++r)
    if (blocks >> r & 1) load_into(*cluster[r], box, place, barrier);
}

void store_box(const TensorMap* map, uint32_t from, int rank, const int* coordinates, int line) {
  begin_instruction("cp.async.bulk.tensor", line);
  const Box box = make_box(map, rank, coordinates);
  Block& block = *current->block;
  const uint32_t rows = num_rows(box.map), bytes = rows * row_bytes(box.map);
  if (from % 128) fault("a box comes from shared address {:#x}, which is not aligned to 128", from);
  if (from < kSharedBase || from - kSharedBase + bytes > block.shared_bytes)
    fault("a box of {} bytes at {:#x} leaves shared memory", bytes, from);
  touch_box(box, Access::kWrite);
  box.for_each_piece(from, 0, rows, [&](uint32_t address, uint32_t, uint32_t) {
    note_thread_access(block, *current, address - kSharedBase, kPiece, SharedUse::kRead);
    Granule& granule = block.granules[granule_of(address)];
    if (granule.copies_in) fault("a store reads shared address {:#x} while a copy into it is in flight", address);
    if (granule.dirty_by != kNobody)
      fault("a store reads shared address {:#x}, which thread {} wrote, without fence.proxy.async", address, granule.dirty_by);
    ++granule.reads_out;
  });
  if (!current->open_bulk) current->open_bulk = std::make_shared<int>(0);
  ++*current->open_bulk;
  ++block.copies_under_way;
  happen_later([&block, box, from, rows, group = current->open_bulk, thread = current] {
    box.for_each_piece(from, 0, rows, [&](uint32_t address, uint32_t row, uint32_t byte) {
      box.for_each_element(row, byte, [&](uint32_t b, std::byte* element) {
        if (element) std::memcpy(element, block.shared + (address - kSharedBase) + b, box.map.element_bytes);
      });
      --block.granules[granule_of(address)].reads_out;
    });
    --*group;
    --block.copies_under_way;
    if (thread->waiting == Waiting::kForBulkCopies) wake(*thread);
  });
}

void commit_bulk(int line) {
  begin_instruction("cp.async.bulk.commit_group", line);
  if (current->open_bulk) current->bulk_groups.push_back(std::move(current->open_bulk));
  current->open_bulk.reset();
}

void wait_bulk(int groups_left, int line) {
  if (LS_DROPPED("cp.async.bulk.wait_group", line)) return;
  begin_instruction("cp.async.bulk.wait_group", line);
  auto& groups = current->bulk_groups;
  while (groups.size() > static_cast<size_t>(groups_left)) {
    while (*groups.front() > 0) block_on(Waiting::kForBulkCopies);
    groups.erase(groups.begin());
  }
}

}  // namespace longspan::simt
