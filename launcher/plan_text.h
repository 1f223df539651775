// A plan as text, for people.
#pragma once

#include <string>

#include "train/plan/step_plan.h"

namespace longspan {

// How fast a rank computes, as far as that is known.
struct PlanRate {
  double flop_per_second = 0;  // 0: not known
  std::string from = {};       // what says so
};

// `memory_bytes`: of a rank; 0: not known.
std::string format_plan(const RunSpec& spec, const StepPlan& plan, int64_t memory_bytes, const PlanRate& rate);

// A line for each host, of many the first and the last, and how each axis lies on them.
std::string format_mesh_map(const MeshMap& map);

}  // namespace longspan
