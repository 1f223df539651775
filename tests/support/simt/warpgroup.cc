#include "tests/support/simt/warpgroup.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "tests/support/simt/copies.h"
#include "tests/support/simt/matrix.h"
#include "tests/support/simt/mutation.h"
#include "tests/support/simt/scheduler.h"
#include "tests/support/simt/shared_memory.h"
#include "tests/support/simt/warp.h"
#include "tests/support/simt/warpgroup_arithmetic.h"

namespace longspan::simt {

namespace {

constexpr uint32_t kInFlight = 0x7fc0dead;  // NaN with a payload that says what it is

struct Issue {
  float* d;
  const WarpgroupOperands* operands;
};

struct Wait {
  int groups_left;
  uint64_t target;
};

bool is_same(const WarpgroupOperands& a, const WarpgroupOperands& b) {
  return a.n == b.n && a.descriptor_a == b.descriptor_a && a.descriptor_b == b.descriptor_b && a.major_a == b.major_a &&
         a.major_b == b.major_b && a.accumulate == b.accumulate && !a.a == !b.a;
}

Warpgroup& warpgroup_of(const Warp& warp) {
  if (warp.block->warps.size() % kWarpsPerWarpgroup) fault("wgmma in a block that is not whole warpgroups");
  return warp.block->warpgroups[static_cast<size_t>(warp.id / kWarpsPerWarpgroup)];
}

void expect_readable(const Block& block, uint32_t address, const char* operand) {
  if (address < kSharedBase || address - kSharedBase + kGranuleBytes > block.shared_bytes)
    fault("the descriptor of {} reaches shared address {:#x}, outside of the block's memory", operand, address);
  const Granule& granule = block.granules[granule_of(address)];
  if (granule.copies_in)
    fault("wgmma while a copy into {} at shared address {:#x} is in flight: a wait is missing", operand, address);
  if (granule.dirty_by != kNobody)
    fault("wgmma reads {} at shared address {:#x}, which thread {} wrote, without fence.proxy.async", operand, address,
          granule.dirty_by);
}

// The product that the warp issues: its warpgroup's next, made by the first warp to come.
WarpgroupProduct& product_of(const Warp& warp, Warpgroup& group, uint64_t number, const WarpgroupOperands& operands) {
  Block& block = *warp.block;
  if (number - group.base < group.products.size()) {
    WarpgroupProduct& product = *group.products[number - group.base];
    if (!is_same(product.operands, operands)) fault("the warps of a warpgroup issue different wgmma");
    return product;
  }
  group.products.push_back(std::make_unique<WarpgroupProduct>());
  WarpgroupProduct& product = *group.products.back();
  product.operands = operands;
  if ((operands.descriptor_b >> 49 & 7) || (!operands.a && (operands.descriptor_a >> 49 & 7)))
    fault("wgmma with a base offset in its descriptor, which is not modelled");
  product.chunks_b = chunks(operands.descriptor_b, operands.major_b, operands.n);
  if (!operands.a) product.chunks_a = chunks(operands.descriptor_a, operands.major_a, 64);
  for (const uint32_t address : product.chunks_b) {
    expect_readable(block, address, "B");
    expect_readable_by_warpgroup(block, warp, granule_of(address), "B");
  }
  for (const uint32_t address : product.chunks_a) expect_readable(block, address, "A");
  const auto reader = static_cast<uint32_t>(warp.id / kWarpsPerWarpgroup);
  for (const auto* list : {&product.chunks_a, &product.chunks_b}) {
    for (const uint32_t address : *list) {
      Granule& granule = block.granules[granule_of(address)];
      ++granule.reads_out;
      auto& reads = granule.warpgroup_reads;
      const auto mine = std::find_if(reads.begin(), reads.end(), [&](const auto& read) { return read.first == reader; });
      if (mine == reads.end()) reads.emplace_back(reader, number);
      else mine->second = number;
    }
  }
  return product;
}

Accumulator& take_accumulator(Collective& collective, Warpgroup& group, int warp, bool a_in_registers, int n) {
  Accumulator* found = nullptr;
  for (const auto& each : group.accumulators[warp])
    if (each->registers[0] == argument<Issue>(collective, 0).d) found = each.get();
  if (found && found->n != n) fault("wgmma of another shape on an accumulator in flight");
  if (!group.fenced[warp] && (a_in_registers || !found))
    fault("wgmma without wgmma.fence after its registers were used (accumulator or A)");
  if (found) {
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if (found->registers[lane] != argument<Issue>(collective, lane).d) fault("lanes disagree about their accumulator");
      for (int i = 0; i < n / 2; ++i)
        if (std::bit_cast<uint32_t>(found->registers[lane][i]) != kInFlight)
          fault("accumulator register {} was written while a wgmma on it is in flight", i);
    }
    return *found;
  }
  group.accumulators[warp].push_back(std::make_unique<Accumulator>());
  Accumulator& made = *group.accumulators[warp].back();
  made.n = n;
  made.values.resize(static_cast<size_t>(16 * n));
  for (int lane = 0; lane < kWarpSize; ++lane) {
    float* d = made.registers[lane] = argument<Issue>(collective, lane).d;
    for (int i = 0; i < n / 2; ++i) {
      made.values[static_cast<size_t>(row_of_sum(lane, i) * n + column_of_sum(lane, i))] = d[i];
      d[i] = std::bit_cast<float>(kInFlight);
    }
  }
  return made;
}

// Some time later the tensor cores are done, and who waits may go on.
void finish_later(Block& block, int group_index, uint64_t number, unsigned warps) {
  happen_later([&block, group_index, number, warps] {
    Warpgroup& group = block.warpgroups[static_cast<size_t>(group_index)];
    if (number >= group.base) group.products[number - group.base]->complete |= warps;
    for (int w = 0; w < kWarpsPerWarpgroup; ++w)
      for (Thread* thread : block.warps[static_cast<size_t>(group_index * kWarpsPerWarpgroup + w)]->threads)
        if (thread->waiting == Waiting::kForWarpgroup) wake(*thread);
  });
}

void issue_all(Collective& collective) {
  const WarpgroupOperands& operands = *argument<Issue>(collective, 0).operands;
  for (int lane = 1; lane < kWarpSize; ++lane)
    if (!is_same(*argument<Issue>(collective, lane).operands, operands)) fault("lanes disagree about a wgmma's operands");
  const Warp& warp = *current->warp;
  Block& block = *warp.block;
  Warpgroup& group = warpgroup_of(warp);
  const int w = warp.id % kWarpsPerWarpgroup;
  const uint64_t number = group.issued[w]++;
  WarpgroupProduct& product = product_of(warp, group, number, operands);
  product.issued |= 1u << w;
  if (!operands.a) {
    const size_t share = product.chunks_a.size() / kWarpsPerWarpgroup;
    for (size_t i = 0; i < share; ++i)
      expect_readable_by_warpgroup(block, warp, granule_of(product.chunks_a[static_cast<size_t>(w) * share + i]), "A");
  }
  Accumulator& accumulator = take_accumulator(collective, group, w, operands.a != nullptr, operands.n);
  accumulator.last_use = number;
  product.accumulators[w] = &accumulator;
  if (operands.a)
    for (int lane = 0; lane < kWarpSize; ++lane)
      std::memcpy(product.a[w * kWarpSize + lane], argument<Issue>(collective, lane).operands->a, sizeof product.a[0]);
  const bool strict = options().strict_warpgroups;
  if (const unsigned finished = strict ? 1u << w : product.issued == kAllWarps ? kAllWarps : 0u)
    finish_later(block, warp.id / kWarpsPerWarpgroup, number, finished);
  // Operands are read early or late.
  if (random() & 1) multiply_up_to(block, group, strict ? number + 1 : *std::min_element(group.issued, group.issued + 4), w);
}

void target_of_wait(Collective& collective) {
  const Warp& warp = *current->warp;
  const Warpgroup& group = warpgroup_of(warp);
  const int w = warp.id % kWarpsPerWarpgroup;
  const auto left = static_cast<size_t>(argument<Wait>(collective, 0).groups_left);
  const auto& groups = group.groups[w];
  const uint64_t target = groups.size() > left ? groups[groups.size() - 1 - left] : group.waited[w];
  for (int lane = 0; lane < kWarpSize; ++lane) argument<Wait>(collective, lane).target = target;
}

void give_back_accumulators(Warpgroup& group, int warp, uint64_t target) {
  auto& all = group.accumulators[warp];
  for (const auto& accumulator : all) {
    if (accumulator->last_use >= target) continue;
    const int n = accumulator->n;
    for (int lane = 0; lane < kWarpSize; ++lane) {
      for (int i = 0; i < n / 2; ++i) {
        float& d = accumulator->registers[lane][i];
        if (std::bit_cast<uint32_t>(d) != kInFlight)
          fault("accumulator register {} was written while a wgmma on it is in flight", i);
        d = accumulator->values[static_cast<size_t>(row_of_sum(lane, i) * n + column_of_sum(lane, i))];
      }
    }
  }
  std::erase_if(all, [&](const auto& accumulator) { return accumulator->last_use < target; });
}

void retire(Block& block, Warpgroup& group) {
  const auto& waited = group.waited;
  const uint64_t limit =
      options().strict_warpgroups ? *std::min_element(waited, waited + 4) : *std::max_element(waited, waited + 4);
  for (uint64_t number = group.base; number < limit && number - group.base < group.products.size(); ++number) {
    WarpgroupProduct& product = *group.products[number - group.base];
    if (product.retired) continue;
    product.retired = true;
    for (const auto* list : {&product.chunks_a, &product.chunks_b})
      for (const uint32_t address : *list) --block.granules[granule_of(address)].reads_out;
  }
  while (!group.products.empty() && group.products.front()->retired && group.products.front()->done == kAllWarps) {
    group.products.pop_front();
    ++group.base;
  }
}

void end_wait(Collective& collective) {
  const Warp& warp = *current->warp;
  Warpgroup& group = warpgroup_of(warp);
  const int w = warp.id % kWarpsPerWarpgroup;
  const uint64_t target = argument<Wait>(collective, 0).target;
  group.fenced[w] = false;
  multiply_up_to(*warp.block, group, target, w);
  group.waited[w] = std::max(group.waited[w], target);
  auto& waits = group.waits[w];
  if (options().check_races && (waits.empty() || waits.back().target < target)) {
    waits.push_back({target, {}});
    for (int lane = 0; lane < kWarpSize; ++lane) waits.back().clocks[lane] = warp.threads[lane]->clock[warp.threads[lane]->id];
  }
  auto& groups = group.groups[w];
  while (!groups.empty() && groups.front() <= target) groups.pop_front();
  give_back_accumulators(group, w, target);
  retire(*warp.block, group);
}

}  // namespace

void warpgroup_multiply(float* d, const WarpgroupOperands& operands, int line) {
  begin_instruction("wgmma.mma_async", line);
  Issue mine{d, &operands};
  together(kAllLanes, &mine, issue_all);
}

void warpgroup_fence(int line) {
  if (LS_DROPPED("wgmma.fence", line)) return;
  begin_instruction("wgmma.fence", line);
  together(kAllLanes, nullptr, [](Collective&) {
    const Warp& warp = *current->warp;
    warpgroup_of(warp).fenced[warp.id % kWarpsPerWarpgroup] = true;
  });
}

void warpgroup_commit(int line) {
  if (LS_DROPPED("wgmma.commit_group", line)) return;
  begin_instruction("wgmma.commit_group", line);
  together(kAllLanes, nullptr, [](Collective&) {
    const Warp& warp = *current->warp;
    Warpgroup& group = warpgroup_of(warp);
    const int w = warp.id % kWarpsPerWarpgroup;
    group.groups[w].push_back(group.issued[w]);
  });
}

void warpgroup_wait(int groups_left, int line) {
  if (LS_DROPPED("wgmma.wait_group", line)) return;
  begin_instruction("wgmma.wait_group", line);
  Wait mine{groups_left, 0};
  together(kAllLanes, &mine, target_of_wait);
  const Warp& warp = *current->warp;
  const Warpgroup& group = warpgroup_of(warp);
  const unsigned needed = options().strict_warpgroups ? 1u << warp.id % kWarpsPerWarpgroup : kAllWarps;
  const auto complete = [&] {
    for (uint64_t number = group.base; number < mine.target; ++number)
      if ((group.products[number - group.base]->complete & needed) != needed) return false;
    return true;
  };
  while (!complete()) block_on(Waiting::kForWarpgroup);
  together(kAllLanes, &mine, end_wait);
}

void set_max_registers(int count, bool increase, int line) {
  begin_instruction("setmaxnreg", line);
  if (count % 8 || count < 24 || count > 256) fault("setmaxnreg {}: not a multiple of 8 from 24 to 256", count);
  const Warp& warp = *current->warp;
  Block& block = *warp.block;
  int& held = warpgroup_of(warp).registers[warp.id % kWarpsPerWarpgroup];
  if (increase ? count < held : count > held)
    fault("setmaxnreg.{} {}, but the warp holds {}", increase ? "inc" : "dec", count, held);
  together(kAllLanes, nullptr, [](Collective&) {});
  while (held < count && block.free_registers < (count - held) * kWarpSize) block_on(Waiting::kForRegisters);
  if (held == count) return;  // another lane has done it for the warp
  block.free_registers -= (count - held) * kWarpSize;
  held = count;
  for (const auto& thread : block.threads)
    if (thread->waiting == Waiting::kForRegisters) wake(*thread);
}

}  // namespace longspan::simt
