#include "attention/kernels/cpu/amx/gradient_grid.h"

#include <atomic>
#include <thread>

namespace longspan::tile_driver {

GradientGrid choose_gradient_grid(int64_t num_tiles, int64_t num_keys) {
  constexpr int64_t kLeastTokens = 512;  // below, a task's share of keys is not used often enough
  constexpr int64_t kTokensOfLong = 1024, kFewest = 8, kMost = 16;
  const int64_t longest = std::max(num_tiles * kLanes, num_keys);
  const int64_t wanted = std::clamp(longest / kTokensOfLong, kFewest, kMost);
  const int64_t size = std::max(int64_t{1}, std::min(wanted, longest / kLeastTokens));
  return {.size = size,
          .tiles_per_chunk = rounded_up(divide_up(num_tiles, size), kGradientQueries / kLanes),
          .keys_per_piece = rounded_up(divide_up(num_keys, size), 2 * kTileBlockKeys)};
}

std::vector<GradientTask> gradient_tasks(const GradientGrid& grid, int64_t num_heads,
                                         const std::function<bool(int64_t, int64_t)>& wanted) {
  std::vector<GradientTask> tasks;
  std::vector<int> of_chunk(static_cast<size_t>(grid.size)), of_piece(static_cast<size_t>(grid.size));
  for (int64_t wave = 0; wave < grid.size; ++wave) {
    for (int64_t piece = 0; piece < grid.size; ++piece) {
      const int64_t chunk = (wave + piece) % grid.size;
      if (!wanted(chunk, piece)) continue;
      const int chunk_turn = of_chunk[static_cast<size_t>(chunk)]++, piece_turn = of_piece[static_cast<size_t>(piece)]++;
      for (int64_t head = 0; head < num_heads; ++head) tasks.push_back({head, chunk, piece, chunk_turn, piece_turn});
    }
  }
  return tasks;
}

namespace {

// How many tasks of a chunk or piece have run; a task that threw has, too, so that nobody waits for it.
class Turn {
 public:
  explicit Turn(std::atomic<int>& done) : done_(done) {}
  ~Turn() { done_.fetch_add(1, std::memory_order_release); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  bool comes(int turn) const { return done_.load(std::memory_order_acquire) == turn; }

 private:
  std::atomic<int>& done_;
};

}  // namespace

void run_in_turn(const Context& context, const GradientGrid& grid, const std::vector<GradientTask>& tasks,
                 const std::function<void(const GradientTask&, int)>& body) {
  const int64_t num_heads = tasks.empty() ? 0 : tasks.back().head + 1;
  std::vector<std::atomic<int>> chunks(static_cast<size_t>(num_heads * grid.size)), pieces(chunks.size());
  parallel_tasks(context, static_cast<int64_t>(tasks.size()), [&](int64_t i, int thread) {
    const GradientTask& task = tasks[static_cast<size_t>(i)];
    const Turn chunk(chunks[static_cast<size_t>(task.head * grid.size + task.chunk)]);
    const Turn piece(pieces[static_cast<size_t>(task.head * grid.size + task.piece)]);
    while (!chunk.comes(task.chunk_turn) || !piece.comes(task.piece_turn)) {
      if (thread == 0) context.progress();
      std::this_thread::yield();
    }
    body(task, thread);
  });
}

}  // namespace longspan::tile_driver
