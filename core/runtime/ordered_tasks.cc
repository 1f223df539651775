#include "core/runtime/ordered_tasks.h"

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "core/base/error.h"

namespace longspan {

OrderedTasks::OrderedTasks(std::span<const Holds> tasks) : tasks_(tasks.size()) {
  std::unordered_map<int64_t, int64_t> last;  // of each thing, the last task so far that holds it
  for (size_t t = 0; t < tasks.size(); ++t) {
    check(tasks[t][0] != tasks[t][1], "task {} holds {} twice, and would wait for itself", t, tasks[t][0]);
    for (const int64_t thing : tasks[t]) {
      const auto [at, is_first] = last.try_emplace(thing, static_cast<int64_t>(t));
      if (is_first) continue;
      auto& successors = tasks_[static_cast<size_t>(at->second)].successors;
      successors[successors[0] == kNone ? 0 : 1] = static_cast<int64_t>(t);
      ++tasks_[t].num_predecessors;
      at->second = static_cast<int64_t>(t);
    }
    if (tasks_[t].num_predecessors == 0) ready_.push_back(static_cast<int64_t>(t));
  }
  std::make_heap(ready_.begin(), ready_.end(), std::greater<>());
}

int64_t OrderedTasks::take() {
  if (ready_.empty()) return kNone;
  std::pop_heap(ready_.begin(), ready_.end(), std::greater<>());
  const int64_t task = ready_.back();
  ready_.pop_back();
  ++num_taken_;
  return task;
}

void OrderedTasks::finish(int64_t task) {
  for (const int64_t successor : tasks_[static_cast<size_t>(task)].successors) {
    if (successor == kNone || --tasks_[static_cast<size_t>(successor)].num_predecessors > 0) continue;
    ready_.push_back(successor);
    std::push_heap(ready_.begin(), ready_.end(), std::greater<>());
  }
}

}  // namespace longspan
