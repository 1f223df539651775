// Which of several ways to do a thing is taken: each is timed once, where that pays, and the fastest is kept.
#pragma once

#include <limits>
#include <map>
#include <mutex>
#include <vector>

#include "core/kernels/cuda/ptx/namespace.h"

namespace longspan::LS_CUDA {

// A run meets few problems; whoever makes up a new one for every call must neither fill the memory nor measure all day.
constexpr size_t kMostChoices = 512;

// Safe to call from several threads; one at a time finds and measures. A problem keeps its way for as long as this lives.
template <class Problem, class Way>
class Choices {
 public:
  // `find()` gives the ways, what is probably best first, and at least one. `time(way)` measures, and says infinity where a
  // way fails; if all do, the first is taken. Unless `measured`, or beyond kMostChoices, the first is taken untimed.
  template <class Find, class Time>
  Way choose(const Problem& problem, bool measured, Find&& find, Time&& time) {
    std::lock_guard lock(mutex_);
    if (const auto it = chosen_.find(problem); it != chosen_.end()) return it->second;
    const std::vector<Way> ways = find();
    if (chosen_.size() >= kMostChoices) return ways.front();
    return chosen_.emplace(problem, measured && ways.size() > 1 ? fastest(ways, time) : ways.front()).first->second;
  }

 private:
  template <class Time>
  static Way fastest(const std::vector<Way>& ways, Time&& time) {
    const Way* best = &ways.front();
    double least = std::numeric_limits<double>::infinity();
    for (const Way& way : ways) {
      if (const double seconds = time(way); seconds < least) {
        least = seconds;
        best = &way;
      }
    }
    return *best;
  }

  std::mutex mutex_;
  std::map<Problem, Way> chosen_;
};

}  // namespace longspan::LS_CUDA
