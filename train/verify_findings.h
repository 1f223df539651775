// What the ranks of a comparison found, and the agreement on which finding came first.
#pragma once

#include <limits>
#include <string>

#include "parallel/comm/process_mesh.h"
#include "train/verify.h"
#include "train/verify_compare.h"

namespace longspan {

enum class Blame {
  kThisRank,  // it went wrong here
  kSome,      // somewhere among the ranks that found the same
};

// A part of a sum that explains its error to within this is what went wrong.
constexpr double kExplains = 0.01;

// "[3, 5]": the element of a tensor that is the flat-th in order.
std::string index_text(const Shape& shape, int64_t flat);

// A tensor that is off.
struct Finding {
  int64_t order = 0;  // when it was computed
  std::string name, place;  // of the tensor, and in it, of the first element that is off
  TensorDifference difference;
  size_t num_elements = 0;
  Blame blame = Blame::kThisRank;
  std::string remark = {};  // goes to the end of the text
};

class Findings {
 public:
  // The mesh must outlive it.
  explicit Findings(const ProcessMesh& mesh);

  // Every tensor that was compared, whatever came of it.
  void measured(double difference, const std::string& name);
  // One computed later than that found already does not count.
  void add(const Finding& finding);

  // Collective over the world: the report on which all agree. Of those ranks that found the first difference, it names
  // the one whose predecessor in its ring did not: what is wrong with a shard of keys is passed on to the ranks behind. Where
  // that is a sum that no rank's part explains, it also names the first that a rank has wrong by itself.
  VerifyReport settle(int64_t num_tensors);

  // Collective over the group.
  std::vector<double> summed(Communicator& group, const std::vector<double>& values) const;
  std::vector<double> largest(Communicator& group, const std::vector<double>& values) const;
  int64_t smallest(Communicator& group, int64_t value) const;
  // Whether this rank is to blame for a sum of the group that is off. If only some ranks have it wrong, the first of
  // them is; else the one whose part explains the error best (`residual`), if one does.
  enum class Has { kRight, kWrong };
  bool is_to_blame(Communicator& group, double residual, Has has) const;

 private:
  std::vector<double> gathered(Communicator& group, double value) const;
  std::vector<double> reduced(Communicator& group, const std::vector<double>& values, ReduceOp op) const;
  std::string broadcast(Communicator& group, std::string text, int root) const;
  std::string rank_name() const;
  int first_in_ring(const std::vector<double>& keys) const;  // of those with the least

  const ProcessMesh& mesh_;
  Context context_;
  struct First {
    double key = std::numeric_limits<double>::infinity();  // twice the order; one more where the blame is not clear
    std::string text;
  };
  First first_, own_;  // of all; of those that are this rank's own
  double largest_ = 0;
  std::string where_;
};

}  // namespace longspan
