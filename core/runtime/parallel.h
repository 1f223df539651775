// Division of a kernel's work among the threads of a context.
#pragma once

#include <cstdint>
#include <functional>

#include "core/runtime/context.h"
#include "core/runtime/ordered_tasks.h"

namespace longspan {

// Calls body(begin, end) over a partition of [0, count) into pieces of at least `grain`, one piece a thread, the
// calling thread included. Which elements share a piece depends on the number of threads: a body whose result depends
// on its piece's bounds is not reproducible across thread counts.
void parallel_for(const Context& context, int64_t count, int64_t grain,
                  const std::function<void(int64_t begin, int64_t end)>& body);

// Calls body(task, thread) for each task in [0, count), handed out one by one; for tasks of uneven cost. The calling
// thread, number 0, calls context.progress() between its tasks.
void parallel_tasks(const Context& context, int64_t count,
                    const std::function<void(int64_t task, int thread)>& body);

// The same for tasks of which some may not run at the same time.
void parallel_tasks(const Context& context, OrderedTasks tasks,
                    const std::function<void(int64_t task, int thread)>& body);

}  // namespace longspan
