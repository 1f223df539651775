// What a rank sends in a step of training, by axis: the formulas that the recording communicator asserts in tests of each scheme,
// for ranks with equal shares. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "parallel/pipeline/placement.h"
#include "train/run_spec.h"

namespace longspan {

struct Traffic {
  std::string group;  // as the communicator is called: "tensor", "context", "replicas", "weights", "pipeline", "table"
  std::string what;
  double bytes = 0;   // that a rank sends in a step
};

// Of a rank that holds these blocks; what moves nothing is left out. Between stages: pipeline_bytes, which its program says.
std::vector<Traffic> traffic_of(const RunSpec& spec, const std::vector<int>& blocks, double pipeline_bytes);

}  // namespace longspan
