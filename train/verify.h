// Does a mesh compute what one rank computes? The same step of the same run, through train() on both, compared tensor
// by tensor.
//
// Compared on every rank, in the order of computation (train/step_record.h): what a microbatch is made of, the output
// of every block, the losses, the gradient of every block's input, and what the ranks of a sequence give to the
// gradients of the parameters; then the gradients after the reduction, and the loss of the global batch. Rows are
// matched by the index of their token. The first tensor that differs is where something went wrong: what comes later
// follows from it.
//
// The measure of a difference: the largest |mesh - one rank| over the elements of a tensor, over the largest |one rank|
// of the tensor as one rank has it: of a microbatch's activations, all its rows; of gradients, one parameter. A
// gradient may be nothing but rounding: of a key's bias, since softmax does not feel what is added to all scores, or of
// queries that see one key. So a bias is measured against its weight where that is larger, and every parameter against
// at least a tenth of the largest gradient. A number that is not finite differs from everything, itself included.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "train/run_spec.h"
#include "train/step_record.h"
#include "train/train.h"

namespace longspan {

// In which a run is verified: double precision, where nothing hides behind rounding, on the reference kernels; float32,
// the run's own kernels with little rounding; and what it computes in.
std::vector<DType> verify_precisions(DType compute_dtype);

// How far apart two orders of summation may be, by the measure above.
double verify_tolerance(DType compute_dtype, const Processor& processor = {.level = CpuLevel::kAvx512});

struct VerifyReport {
  double largest = 0;       // of all differences on all ranks
  std::string where;        // "output of model.layers.1 on rank 3"
  int64_t num_tensors = 0;  // compared, of all ranks
  // Empty if all agree. Else the first tensor that differs, the rank, the place in it, both values, and what to make of
  // it.
  std::string difference;
};

class OneRank {
 public:
  // `run`: as shrunk() makes it, with its data. Takes its first step on one rank, in this precision.
  OneRank(const RunSpec& run, DType compute_dtype, const RankResources& resources);

  // The same step on run.mesh, compared. Collective over `world`; the report is the same on every rank. Several threads
  // may call this at once, each as a rank of its own. Raises what training raises.
  VerifyReport compare(Communicator& world, const RankResources& resources) const;

 private:
  RunSpec run_;
  StepRecord expected_;
};

}  // namespace longspan
