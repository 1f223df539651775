#include "tests/support/simt/scheduler.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "tests/support/simt/barriers.h"
#include "tests/support/simt/fiber.h"
#include "tests/support/simt/global_memory.h"

namespace longspan::simt {

thread_local Thread* current = nullptr;

namespace {

constexpr size_t kStackBytes = 192 << 10;
constexpr uint32_t kMaxSharedBytes = 227 << 10;
constexpr int kRegistersOfBlock = 65536;

class Launch;
thread_local Launch* active = nullptr;
thread_local Options chosen;
thread_local RunStatistics statistics;
thread_local FiberStacks stacks{kStackBytes};  // of one launch after the other

class Launch {
 public:
  Launch(const LaunchShape& shape, const std::function<void()>& body) : shape_(shape), body_(body) {
    if (shape.shared_bytes > kMaxSharedBytes) throw KernelFault("more than 227 KiB of shared memory");
    if (shape.grid[0] % shape.cluster) throw KernelFault("the grid is not a multiple of the cluster");
    if (shape.threads < 1 || shape.threads > 1024) throw KernelFault("a block has 1 to 1024 threads");
    const Options& o = chosen;
    state_ = o.seed * 0x2545f4914f6cdd1dull + 99;
    policy_ = o.policy != Policy::kBySeed ? o.policy : static_cast<Policy>(1 + o.seed % 3);
    copies_every_ = std::array{8, 40, 200}[o.seed / 3 % 3];
    starve_one_in_ = std::array{2, 6, 0, 12}[o.seed % 4];
    grid_ = {shape.grid[0], shape.grid[1], shape.grid[2]};
    order_.resize(uint64_t{shape.grid[0]} * shape.grid[1] * shape.grid[2] / shape.cluster);
    std::iota(order_.begin(), order_.end(), 0);
    for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random() % i]);
  }

  void run();
  void fail(const std::string& message);
  void switch_to_scheduler(void** from) { longspan_switch_fiber(from, scheduler_); }
  void interrupt_now_and_then();
  void happen_later(std::function<void()> what);
  uint64_t random();
  bool one_in(int n) { return random() % static_cast<uint64_t>(n) == 0; }
  static void enter_thread();

  LaunchShape shape_;
  Dim3 grid_;

 private:
  void start_wave();
  void start_block(Block& block);
  void start_thread(Block& block, unsigned id);
  void end_wave();
  void step();
  Warp* choose_warp();
  void run_lanes(Warp& warp);
  void do_one_copy();
  void check_exit(Thread& thread);

  const std::function<void()>& body_;
  void* scheduler_ = nullptr;
  bool failed_ = false;
  std::string message_;
  uint64_t state_ = 0;
  int copies_every_ = 8, starve_one_in_ = 0;
  Policy policy_ = Policy::kUniform;
  std::vector<uint64_t> order_;
  size_t next_ = 0, last_turn_ = 0;
  int budget_ = 1;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<Warp*> warps_;
  std::vector<std::function<void()>> copies_, starved_;
};

uint64_t Launch::random() {  // splitmix64 (Steele et al. 2014)
  uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

void Launch::fail(const std::string& message) {
  if (!failed_) message_ = message;
  failed_ = true;
}

void Launch::interrupt_now_and_then() {
  if (--budget_ > 0) return;
  budget_ = 1 + static_cast<int>(random() % static_cast<uint64_t>(2 * chosen.interrupt_every));
  yield();
}

void Launch::happen_later(std::function<void()> what) {
  if (!chosen.delay_copies) return what();
  (starve_one_in_ && one_in(starve_one_in_) ? starved_ : copies_).push_back(std::move(what));
}

void Launch::do_one_copy() {
  auto& list = copies_.empty() ? starved_ : copies_;
  const size_t i = random() % list.size();
  const std::function<void()> what = std::move(list[i]);
  list[i] = std::move(list.back());
  list.pop_back();
  what();
}

void Launch::check_exit(Thread& thread) {
  if (thread.block->live == 1 && thread.block->copies_under_way > 0)
    fail("a block exits while copies into or out of its shared memory are under way");
  if (thread.open_bulk || !thread.bulk_groups.empty())
    fail("exit with a bulk copy that was not waited for: " + describe(thread));
  if (!thread.open_copies.empty() || !thread.copy_groups.empty())
    fail("exit with a cp.async that was not waited for: " + describe(thread));
}

void Launch::enter_thread() {
  active->body_();
  Thread& thread = *current;
  active->check_exit(thread);
  thread.waiting = Waiting::kExited;
  thread.warp->ready &= ~(1u << thread.lane);
  thread.warp->live &= ~(1u << thread.lane);
  --thread.block->live;
  pass_barrier_of_those_left(*thread.block);
  active->switch_to_scheduler(&thread.stack);
  __builtin_unreachable();
}

void Launch::start_thread(Block& block, unsigned id) {
  block.threads.push_back(std::make_unique<Thread>());
  Thread& thread = *block.threads.back();
  thread.id = id;
  thread.lane = static_cast<int>(id % kWarpSize);
  thread.block = &block;
  thread.warp = block.warps[id / kWarpSize].get();
  if (chosen.check_races) thread.clock.start(shape_.threads, id);
  thread.warp->threads[thread.lane] = &thread;
  thread.warp->ready |= 1u << thread.lane;
  thread.warp->live |= 1u << thread.lane;
  thread.stack = stacks.start(&Launch::enter_thread);
}

void Launch::start_block(Block& block) {
  block.shared_memory.assign(shape_.shared_bytes, std::byte{0xff});
  block.shared = block.shared_memory.data();
  block.shared_bytes = shape_.shared_bytes;
  block.granules.resize(shape_.shared_bytes / kGranuleBytes + 2);
  if (chosen.check_races) block.words.resize(block.granules.size() * (kGranuleBytes / kWordBytes));
  block.num_threads = shape_.threads;
  block.live = static_cast<int>(shape_.threads);
  block.warpgroups.resize((shape_.threads + 127) / 128);
  const int threads = static_cast<int>(shape_.threads), registers = std::min(kRegistersOfBlock / threads / 8 * 8, 255);
  block.free_registers = kRegistersOfBlock - registers * threads;
  for (Warpgroup& group : block.warpgroups) std::fill(std::begin(group.registers), std::end(group.registers), registers);
  for (int w = 0; w < (threads + kWarpSize - 1) / kWarpSize; ++w) {
    block.warps.push_back(std::make_unique<Warp>());
    block.warps.back()->id = w;
    block.warps.back()->block = &block;
    block.warps.back()->priority = random();
  }
  for (unsigned t = 0; t < shape_.threads; ++t) start_thread(block, t);
}

void Launch::start_wave() {
  stacks.recycle();
  const unsigned clusters_x = shape_.grid[0] / shape_.cluster;
  for (int k = 0; k < chosen.coresident && next_ < order_.size(); ++k, ++next_) {
    const uint64_t id = order_[next_];
    auto cluster = std::make_shared<Cluster>();
    for (unsigned r = 0; r < shape_.cluster; ++r) {
      blocks_.push_back(std::make_unique<Block>());
      Block& block = *blocks_.back();
      block.id = id * shape_.cluster + r;
      block.cluster = cluster;
      block.rank = static_cast<int>(r);
      cluster->blocks.push_back(&block);
      block.index = {static_cast<unsigned>(id % clusters_x) * shape_.cluster + r,
                     static_cast<unsigned>(id / clusters_x % grid_.y), static_cast<unsigned>(id / clusters_x / grid_.y)};
      start_block(block);
    }
  }
  for (const auto& block : blocks_)
    for (const auto& warp : block->warps) warps_.push_back(warp.get());
}

void Launch::end_wave() {
  for (const auto& block : blocks_) {
    for (const Warpgroup& group : block->warpgroups)
      for (const auto& product : group.products)
        if (!product->retired) fail("a block exits with a wgmma that was not waited for");
  }
  blocks_.clear();
  warps_.clear();
}

Warp* Launch::choose_warp() {
  Warp* chosen_warp = nullptr;
  uint64_t num_ready = 0;
  if (policy_ == Policy::kRoundRobin) {
    for (size_t k = 0; k < warps_.size(); ++k) {
      const size_t i = (last_turn_ + k) % warps_.size();
      if (!warps_[i]->ready) continue;
      last_turn_ = (i + 1) % warps_.size();
      return warps_[i];
    }
    return nullptr;
  }
  for (Warp* warp : warps_) {
    if (!warp->ready) continue;
    ++num_ready;
    const bool better = policy_ == Policy::kUniform ? random() % num_ready == 0
                                                    : !chosen_warp || warp->priority > chosen_warp->priority;
    if (better) chosen_warp = warp;
  }
  // Priorities that rarely change find what needs one thread to be late (Burckhardt et al. 2010).
  if (chosen_warp && policy_ == Policy::kPriorities && one_in(24)) chosen_warp->priority = random();
  return chosen_warp;
}

void Launch::run_lanes(Warp& warp) {
  const uint32_t ready = warp.ready;
  const int first = policy_ == Policy::kRoundRobin ? 0 : static_cast<int>(random() % kWarpSize);
  for (int k = 0; k < kWarpSize && !failed_; ++k) {
    const int lane = (first + k) % kWarpSize;
    if (!(ready >> lane & 1) || !(warp.ready >> lane & 1)) continue;
    current = warp.threads[lane];
    ++statistics.switches;
    longspan_switch_fiber(&scheduler_, current->stack);
    current = nullptr;
  }
}

void Launch::step() {
  if (++statistics.steps > chosen.max_steps)
    return fail("more steps than " + std::to_string(chosen.max_steps) + "; " + describe_deadlock(blocks_));
  Warp* warp = choose_warp();
  const bool pending = !copies_.empty() || !starved_.empty();
  if (warp ? !copies_.empty() && one_in(copies_every_) : pending) do_one_copy();
  if (warp) return run_lanes(*warp);
  if (pending) return;
  const auto is = [&](uint32_t Warp::*lanes) {
    return std::any_of(warps_.begin(), warps_.end(), [&](const Warp* w) { return w->*lanes != 0; });
  };
  if (is(&Warp::ready)) return;
  if (is(&Warp::live)) return fail(describe_deadlock(blocks_));
  end_wave();
}

void Launch::run() {
  while ((next_ < order_.size() || !blocks_.empty()) && !failed_) {
    if (blocks_.empty()) start_wave();
    try {
      step();
    } catch (const KernelFault& fault) {  // of what happened later
      fail(fault.what());
    }
  }
  if (failed_) throw KernelFault(message_);
}

}  // namespace

Options& options() { return chosen; }
const RunStatistics& last_run() { return statistics; }
const Dim3& grid_size() { return active->grid_; }
unsigned block_size() { return active->shape_.threads; }
uint64_t random() { return active->random(); }
bool running() { return active != nullptr; }

void run(const LaunchShape& shape, const std::function<void()>& body) {
  if (active) throw KernelFault("a launch inside a launch");
  statistics = {};
  const GlobalAccesses accesses(chosen.check_races);
  Launch launch(shape, body);
  active = &launch;
  const struct Reset {
    ~Reset() {
      active = nullptr;
      current = nullptr;
    }
  } reset;
  launch.run();
}

void fault_with(const std::string& message) {
  if (!active || !current) throw KernelFault(message);
  active->fail(message + "  [" + describe(*current) + "]");
  void* abandoned = nullptr;
  active->switch_to_scheduler(&abandoned);
  __builtin_unreachable();
}

void begin_instruction(const char* operation, int line) {
  current->operation = operation;
  current->line = line;
  active->interrupt_now_and_then();
}

void yield() { active->switch_to_scheduler(&current->stack); }

void block_on(Waiting waiting, uint32_t address, uint32_t parity) {
  Thread& thread = *current;
  thread.waiting = waiting;
  thread.wait_address = address;
  thread.wait_parity = parity;
  thread.warp->ready &= ~(1u << thread.lane);
  yield();
}

void wake(Thread& thread) {
  if (thread.waiting == Waiting::kExited) return;
  thread.waiting = Waiting::kNot;
  thread.warp->ready |= 1u << thread.lane;
}

void wake_all(std::vector<Thread*>& threads) {
  const std::vector<Thread*> woken = std::move(threads);
  threads.clear();
  for (Thread* thread : woken) wake(*thread);
}

void happen_later(std::function<void()> what) { active->happen_later(std::move(what)); }

void release(Thread& thread, Clock& into) {
  if (!chosen.check_races) return;
  into.join(thread.clock);
  thread.clock.advance(thread.id);
}

void acquire(Thread& thread, const Clock& from) {
  if (chosen.check_races) thread.clock.join(from);
}

}  // namespace longspan::simt
