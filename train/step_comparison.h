// StepComparison: what one rank of a mesh computed against what one rank alone did, tensor by tensor.
#pragma once

#include <span>

#include "attention/sequence_layout.h"
#include "train/step_record.h"
#include "train/verify_findings.h"

namespace longspan {

class StepComparison {
 public:
  // Collective over `world`. What is given must outlive it.
  StepComparison(const RunSpec& run, double tolerance, const StepRecord& expected, const StepRecord& got, Communicator& world);

  // Collective over the world; the same on every rank.
  VerifyReport report();

 private:
  // What a sum over ranks came to, what it should be, and what this rank brought to it; all flat, as the gradients are.
  struct Sum {
    std::span<const double> got, expected, part;
    enum class Part { kIsRight, kHoldsTheError } kind;
  };
  void compare_tensors();
  void compare_rows(const TensorRecord& tensor, const TensorRecord& whole);
  void compare_share(const TensorRecord& share, const TensorRecord& whole);
  void compare_gradients(int64_t order);
  void compare_number(int64_t order, const std::string& name, double got, double expected);
  TensorDifference compare_parameter(size_t p, std::span<const double> got, std::span<const double> expected) const;
  std::span<const double> slice(size_t p, std::span<const double> flat) const;
  size_t weight_of(const std::string& bias) const;
  size_t first_off(const std::string& share, std::span<const double> got, std::span<const double> expected,
                   Communicator& group);
  void blame(int64_t order, const std::string& name, size_t p, Communicator& group, const Sum& sum);

  const RunSpec& run_;
  const StepRecord &expected_, &got_;
  double tolerance_;
  ProcessMesh mesh_;
  Findings findings_;
  SequenceLayout layout_;  // of a microbatch
};

}  // namespace longspan
