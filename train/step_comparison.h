// StepComparison: what one rank of a mesh computed against what one rank alone did, tensor by tensor.
#pragma once

#include <memory>
#include <vector>

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
  // Of one parameter: what a sum over ranks came to, and what this rank brought to it.
  struct Sum {
    std::vector<double> got, part;
    std::vector<bool> held;  // which elements this rank has
    double scale = 1;
    Findings::Has has = Findings::Has::kWrong;
    enum class Part { kIsRight, kHoldsTheError } kind;
  };
  struct Where {
    int64_t order;
    std::string name;
    Communicator& group;  // that sums
  };
  void compare_tensors();
  void compare_rows(const TensorRecord& tensor, const TensorRecord& whole);
  void compare_share(const std::vector<ParameterPart>& share, const TensorRecord& whole);
  int first_microbatch() const;
  void compare_gradients(int64_t order);
  void compare_number(int64_t order, const std::string& name, double got, double expected);
  std::vector<double> whole_of(const ParameterPart& parameter, const std::vector<ParameterPart>& parts) const;
  std::vector<double> agreed_gradient(const ParameterPart& expected, double scale, Findings::Has& has) const;
  void blame(const Where& where, const ParameterPart& expected, const Sum& sum);

  const RunSpec& run_;
  const StepRecord &expected_, &got_;
  double tolerance_;
  ProcessMesh mesh_;
  std::unique_ptr<Communicator> stage_;    // all that have this stage's weights
  std::unique_ptr<Communicator> sharers_;  // of them, those that have the same microbatches
  Findings findings_;
  int num_chunks_;  // of a sequence, each a microbatch of its own
};

}  // namespace longspan
