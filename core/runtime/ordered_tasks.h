// OrderedTasks: which of a list of tasks may start now. Each names the two things that it alone may hold while it runs (rows
// it adds to, say); tasks that name the same thing run one after the other, in the order of the list. So sums have one
// order whatever the number of threads, and there is no barrier at which threads wait for the slowest.
//
// Not synchronised: parallel_tasks does that, and a test may play threads that finish when it likes.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace longspan {

class OrderedTasks {
 public:
  using Holds = std::array<int64_t, 2>;  // two different things, numbered by the caller

  explicit OrderedTasks(std::span<const Holds> tasks);

  static constexpr int64_t kNone = -1;
  // The first task of the list that may start and was not taken, or kNone.
  int64_t take();
  // To be called once for each task that was taken, when it has ended.
  void finish(int64_t task);
  int64_t size() const { return static_cast<int64_t>(tasks_.size()); }
  bool all_taken() const { return num_taken_ == size(); }

 private:
  struct Task {
    std::array<int64_t, 2> successors = {kNone, kNone};
    int num_predecessors = 0;
  };
  std::vector<Task> tasks_;
  std::vector<int64_t> ready_;  // a heap, the first of the list on top
  int64_t num_taken_ = 0;
};

}  // namespace longspan
