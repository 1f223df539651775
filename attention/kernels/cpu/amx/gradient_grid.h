// How a window of backward is divided among threads without partial sums: into chunks of queries and pieces of keys, a task
// for each pair of them that sees anything.
//
// A task may run when all earlier ones of its chunk and of its piece have, so that each row of a gradient is added to in one
// order, a function of the shape alone, by one thread at a time. Tasks are handed out wave by wave (in wave w, piece j meets
// chunk (w + j) mod size, none sharing a row), but nobody waits for the end of a wave: a thread waits only for the tasks it
// depends on, which were handed out before its own, so one that runs is always there.
#pragma once

#include <functional>
#include <vector>

#include "attention/kernels/cpu/amx/driver.h"

namespace longspan::tile_driver {

struct GradientGrid {
  int64_t size = 1;                                // chunks, and pieces
  int64_t tiles_per_chunk = 0, keys_per_piece = 0;  // whole blocks of the kernels
};
GradientGrid choose_gradient_grid(int64_t num_tiles, int64_t num_keys);

struct GradientTask {
  int64_t head = 0, chunk = 0, piece = 0;
  int chunk_turn = 0, piece_turn = 0;  // how many tasks of its chunk, and of its piece, come before it
};
// Of all heads, in the order in which they are handed out; wanted(chunk, piece): whether the pair sees anything.
std::vector<GradientTask> gradient_tasks(const GradientGrid& grid, int64_t num_heads,
                                         const std::function<bool(int64_t chunk, int64_t piece)>& wanted);

void run_in_turn(const Context& context, const GradientGrid& grid, const std::vector<GradientTask>& tasks,
                 const std::function<void(const GradientTask& task, int thread)>& body);

}  // namespace longspan::tile_driver
