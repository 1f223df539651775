// One step of a decoder on a mesh of context and tensor axes, ranks as threads, for comparison with one rank.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "attention/sequence_layout.h"
#include "core/runtime/context.h"
#include "model/model_spec.h"

namespace longspan::test {

struct TensorMesh {
  int context, tensor;
  LayoutType layout = LayoutType::kZigzag;
  int64_t length = 23, loss_tile = 6;
};

enum class Plant { kNothing, kNoSumOverTheAxis, kEverythingCounted };

struct TensorOutcome {
  // Losses as the step and as an evaluation has them, and squares of the gradient; scaled alike on every mesh.
  double loss = 0, evaluated = 0, squares = 0;
  std::map<std::string, std::vector<double>> gradients;  // whole
};

// Each rank computes in a context that `make` gives. Where several ranks hold the same elements, their gradients must agree to
// the bit.
TensorOutcome step_on_mesh(const ModelSpec& spec, const TensorMesh& mesh, const std::function<Context()>& make,
                           Plant plant = Plant::kNothing);

// Fails unless loss, evaluation, norm and every gradient are within the tolerance of themselves.
void expect_equal(const TensorOutcome& got, const TensorOutcome& want, double tolerance);

// The largest relative error of a gradient.
double largest_error(const TensorOutcome& got, const TensorOutcome& want);

}  // namespace longspan::test
