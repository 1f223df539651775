// `longspan bench step`: a whole training step of one sequence or more: batch, forward, backward, norm of the gradients, update.
//
// Model operations, by the convention of causal MFU: each token and parameter of a product counts 2 in forward, each pair of a
// query and a key that it sees 4 x head dims in each head; backward counts twice forward. So what attention computes twice in
// backward counts as nothing, nor do embedding, norms and the optimizer. MFU is the share of ProductPeak, and of the data sheet.
#pragma once

#include <ostream>
#include <vector>

#include "launcher/bench_machine.h"
#include "train/run_spec.h"

namespace longspan {

struct BenchStepOptions {
  BenchMachine machine = {};
  double min_seconds = 1;  // for each dtype
  RunSpec run = {};        // its model, batch, loss tile and optimizer; the sequences are random tokens, each one document
  std::vector<DType> dtypes = {DType::kFloat32, DType::kBFloat16};
};

// Of one step, over all sequences of the batch.
double model_flop_of_step(const ModelSpec& model, int64_t num_sequences, int64_t sequence_length);

// Two lines per dtype. Raises Error as training does.
void bench_step(const BenchStepOptions& options, std::ostream& out);

}  // namespace longspan
