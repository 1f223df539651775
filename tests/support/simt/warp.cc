#include "tests/support/simt/warp.h"

#include "tests/support/simt/mutation.h"
#include "tests/support/simt/scheduler.h"

namespace longspan::simt {

namespace {

Collective& slot(Warp& warp, uint32_t mask, const char* operation) {
  for (Collective& collective : warp.collectives)
    if (collective.operation && collective.mask == mask) return collective;
  Collective* free = nullptr;
  for (Collective& collective : warp.collectives)
    if (!collective.operation) free = &collective;
  if (!free) free = &warp.collectives.emplace_back();
  *free = Collective{};
  free->mask = mask;
  free->operation = operation;
  return *free;
}

struct Shuffle {
  uint32_t value, result;
  int source;
};

struct Vote {
  bool predicate;
  uint32_t result;
};

}  // namespace

void together(uint32_t mask, void* argument, void (*act)(Collective&)) {
  Thread& thread = *current;
  Warp& warp = *thread.warp;
  if (!(mask >> thread.lane & 1)) fault("a lane that is not in its mask {:08x}", mask);
  Collective& collective = slot(warp, mask, thread.operation);
  if (collective.operation != thread.operation)
    fault("the lanes of a warp disagree: {} here, {} elsewhere", thread.operation, collective.operation);
  collective.arrived |= 1u << thread.lane;
  collective.arguments[thread.lane] = argument;
  if (collective.arrived != mask) return block_on(Waiting::kForWarp, mask);
  act(collective);
  collective.operation = nullptr;
  for_each_lane(collective, [&](int lane) {
    if (lane != thread.lane) wake(*warp.threads[lane]);
  });
}

uint32_t shuffle(uint32_t mask, uint32_t value, int source, int line) {
  begin_instruction("shfl.sync", line);
  Shuffle mine{value, 0, source};
  together(mask, &mine, [](Collective& collective) {
    for_each_lane(collective, [&](int lane) {
      Shuffle& shuffle = argument<Shuffle>(collective, lane);
      const int from = shuffle.source % kWarpSize;
      // What a lane that does not take part holds is unspecified.
      shuffle.result = collective.mask >> from & 1 ? argument<Shuffle>(collective, from).value : 0xffffffffu;
    });
  });
  return mine.result;
}

uint32_t ballot(uint32_t mask, bool predicate, int line) {
  begin_instruction("vote.sync", line);
  Vote mine{predicate, 0};
  together(mask, &mine, [](Collective& collective) {
    uint32_t votes = 0;
    for_each_lane(collective, [&](int lane) {
      if (argument<Vote>(collective, lane).predicate) votes |= 1u << lane;
    });
    for_each_lane(collective, [&](int lane) { argument<Vote>(collective, lane).result = votes; });
  });
  return mine.result;
}

bool elect(uint32_t mask, int line) {
  begin_instruction("elect.sync", line);
  Vote mine{false, 0};
  together(mask, &mine, [](Collective& collective) {
    // Any lane may be the one, the same each time.
    uint64_t left = options().seed * 7 % static_cast<uint64_t>(std::popcount(collective.mask));
    for_each_lane(collective, [&](int lane) { argument<Vote>(collective, lane).result = left-- == 0; });
  });
  return mine.result != 0;
}

void sync_warp(uint32_t mask, int line) {
  if (LS_DROPPED("__syncwarp", line)) return;
  begin_instruction("__syncwarp", line);
  together(mask, nullptr, [](Collective& collective) {
    Clock joined;
    for_each_lane(collective, [&](int lane) { release(*current->warp->threads[lane], joined); });
    for_each_lane(collective, [&](int lane) { acquire(*current->warp->threads[lane], joined); });
  });
}

}  // namespace longspan::simt
