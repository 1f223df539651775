// `longspan bench pipeline`: the bubbles that schedules have, beside those that the verifier predicts; and what chunks of one
// long sequence gain over whole ones.
//
// Ranks are threads of this process whose blocks sleep for set times (parallel/pipeline/measure_bubble.h), so it measures
// programs, executor and messages, not kernels. A run is the fastest of some: what else the machine does can only lengthen one.
#pragma once

#include <ostream>
#include <vector>

namespace longspan {

struct BenchPipelineOptions {
  std::vector<int> ranks = {2, 4, 8};
  std::vector<int> sequence_chunks = {1, 2, 4, 8, 16};
  double layer_seconds = 0.006;  // forward of one microbatch in one layer
  int repetitions = 3;
};

// A line for each schedule and number of ranks; then, on the most ranks, one for each number of chunks of one sequence in a step,
// and of as many sequences as there are ranks.
void bench_pipeline(const BenchPipelineOptions& options, std::ostream& out);

}  // namespace longspan
