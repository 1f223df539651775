#include "train/step_comparison.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace longspan {

namespace {

using Rows = TensorRecord::Rows;

constexpr std::string_view kBias = ".bias";
constexpr double kLeastShare = 0.1;

std::map<std::pair<int, std::string>, const TensorRecord*> by_microbatch_and_name(const StepRecord& step) {
  std::map<std::pair<int, std::string>, const TensorRecord*> tensors;
  for (const TensorRecord& tensor : step.tensors) {
    const bool added = tensors.try_emplace({tensor.microbatch, tensor.name}, &tensor).second;
    check(added, "one rank has {} of microbatch {} twice", tensor.name, tensor.microbatch);
  }
  return tensors;
}

std::vector<double> rows_of(const TensorRecord& whole, const std::vector<int64_t>& indices) {
  std::vector<double> rows;
  for (const int64_t index : indices) {
    const auto begin = whole.values.begin() + index * whole.width;
    rows.insert(rows.end(), begin, begin + whole.width);
  }
  return rows;
}

}  // namespace

StepComparison::StepComparison(const RunSpec& run, double tolerance, const StepRecord& expected, const StepRecord& got,
                               Communicator& world)
    : run_(run),
      expected_(expected),
      got_(got),
      tolerance_(tolerance),
      mesh_(world, run.mesh),
      findings_(mesh_),
      layout_(run.layout, run.mesh.context, run.data.sequence_length, run.micro_batch_sequences) {}

VerifyReport StepComparison::report() {
  compare_tensors();
  const int64_t last = got_.tensors.back().order;
  compare_gradients(last + 1);
  compare_number(last + 2, "norm of the gradients", got_.norm, expected_.norm);
  compare_number(last + 3, "loss", got_.loss, expected_.loss);
  return findings_.settle(static_cast<int64_t>(got_.tensors.size() + got_.parameters.size()) + 2);
}

void StepComparison::compare_tensors() {
  const auto expected = by_microbatch_and_name(expected_);
  const int first = mesh_.coordinate(Axis::kData) *
                    static_cast<int>(run_.global_batch_sequences / run_.mesh.data / run_.micro_batch_sequences);
  for (const TensorRecord& tensor : got_.tensors) {
    const TensorRecord& whole = *expected.at({first + tensor.microbatch, tensor.name});
    if (tensor.rows == Rows::kParameters) {
      compare_share(tensor, whole);
    } else {
      compare_rows(tensor, whole);
    }
  }
}

void StepComparison::compare_rows(const TensorRecord& tensor, const TensorRecord& whole) {
  const bool tokens = tensor.rows == Rows::kTokens;
  const std::vector<int64_t> indices = longspan::indices(layout_.ranges(tensor.owner));
  const std::vector<double> expected = tokens ? rows_of(whole, indices) : whole.values;
  const auto difference = compare_elements(tensor.values, expected, largest_magnitude(whole.values), tolerance_);
  const int rank = mesh_.world().rank(), owner = mesh_.map().rank_along(rank, Axis::kContext, tensor.owner);
  const std::string name = tensor.name + (owner == rank ? "" : fmt::format(" from rank {}", owner));
  findings_.measured(difference.largest, name);
  if (difference.first < 0) return;
  std::string place = fmt::format("microbatch {}", tensor.microbatch);
  if (tokens) {
    place += fmt::format(", token {}", indices[static_cast<size_t>(difference.first / tensor.width)]);
    if (tensor.width > 1) place += fmt::format(", element {}", difference.first % tensor.width);
  }
  findings_.add({tensor.order, name, place, difference, tensor.values.size()});
}

// Summed over the ranks of the sequence, it is what one rank has. Collective over the ring.
void StepComparison::compare_share(const TensorRecord& share, const TensorRecord& whole) {
  const std::vector<double> part = flat_share(share, expected_.gradients.size());
  const std::vector<double> expected = flat_share(whole, expected_.gradients.size());
  const std::vector<double> sum = findings_.summed(mesh_.axis(Axis::kContext), part);
  const size_t p = first_off(share.name, sum, expected, mesh_.axis(Axis::kContext));
  if (p == expected_.parameters.size()) return;
  const std::string name =
      fmt::format("gradient of {} by microbatch {}", expected_.parameters[p].name, share.microbatch);
  blame(share.order, name, p, mesh_.axis(Axis::kContext), {sum, expected, part, Sum::Part::kHoldsTheError});
}

void StepComparison::compare_gradients(int64_t order) {
  std::vector<double> brought(got_.gradients.size(), 0);
  for (const TensorRecord& tensor : got_.tensors) {
    if (tensor.rows != Rows::kParameters) continue;
    for (size_t i = 0; i < tensor.values.size(); ++i)
      brought[static_cast<size_t>(tensor.begin) + i] += tensor.values[i];
  }
  const size_t p = first_off("", got_.gradients, expected_.gradients, mesh_.replicas());
  if (p == expected_.parameters.size()) return;
  const std::string name = fmt::format("gradient of {} after the reduction", expected_.parameters[p].name);
  blame(order, name, p, mesh_.replicas(), {got_.gradients, expected_.gradients, brought, Sum::Part::kIsRight});
}

void StepComparison::compare_number(int64_t order, const std::string& name, double got, double expected) {
  const auto difference = compare_elements({&got, 1}, {&expected, 1}, std::abs(expected), tolerance_);
  findings_.measured(difference.largest, name);
  if (difference.first >= 0) findings_.add({order, name, "of the global batch", difference, 1});
}

TensorDifference StepComparison::compare_parameter(size_t p, std::span<const double> got,
                                                   std::span<const double> expected) const {
  const auto e = slice(p, expected);
  double scale = std::max(largest_magnitude(e), kLeastShare * largest_magnitude(expected));
  const std::string& name = expected_.parameters[p].name;
  if (name.ends_with(kBias)) scale = std::max(scale, largest_magnitude(slice(weight_of(name), expected)));
  return compare_elements(slice(p, got), e, scale, tolerance_);
}

// The number of the weight that a bias belongs to.
size_t StepComparison::weight_of(const std::string& bias) const {
  const std::string weight = bias.substr(0, bias.size() - kBias.size()) + ".weight";
  const auto& all = expected_.parameters;
  return static_cast<size_t>(std::find_if(all.begin(), all.end(), [&](const auto& p) { return p.name == weight; }) -
                             all.begin());
}

std::span<const double> StepComparison::slice(size_t p, std::span<const double> flat) const {
  const ParameterPlace& place = expected_.parameters[p];
  return flat.subspan(static_cast<size_t>(place.begin), static_cast<size_t>(place.shape.num_elements()));
}

// The first parameter that is off on any rank of the group; their number if none is.
size_t StepComparison::first_off(const std::string& share, std::span<const double> got,
                                 std::span<const double> expected, Communicator& group) {
  size_t first = expected_.parameters.size();
  for (size_t p = expected_.parameters.size(); p-- > 0;) {
    const auto difference = compare_parameter(p, got, expected);
    const std::string& name = expected_.parameters[p].name;
    findings_.measured(difference.largest, share.empty() ? "gradient of " + name : share + ", " + name);
    if (difference.first >= 0) first = p;
  }
  return static_cast<size_t>(findings_.smallest(group, static_cast<int64_t>(first)));
}

// Every rank of the group has the same wrong sum; whose part explains it is to blame.
void StepComparison::blame(int64_t order, const std::string& name, size_t p, Communicator& group, const Sum& sum) {
  const auto got = slice(p, sum.got), expected = slice(p, sum.expected);
  const TensorDifference difference = compare_parameter(p, sum.got, sum.expected);
  std::vector<double> error(got.size());
  for (size_t i = 0; i < error.size(); ++i) error[i] = got[i] - expected[i];
  Multiple multiple = as_multiple_of(error, slice(p, sum.part));
  const bool nothing = largest_magnitude(slice(p, sum.part)) == 0;
  if (nothing) multiple.residual = kExplains;  // suspect, if no other rank's part explains the error
  const auto has = difference.first < 0 ? Findings::Has::kRight : Findings::Has::kWrong;
  const bool mine = findings_.is_to_blame(group, multiple.residual, has);
  if (difference.first < 0) return;
  const std::string place = index_text(expected_.parameters[p].shape, difference.first);
  std::string remark = mine ? "" : "; no single rank's part of the sum explains it";
  if (mine && nothing) remark = "; this rank's part of the sum is nothing";
  if (mine && multiple.residual < kExplains) {
    const double times = sum.kind == Sum::Part::kIsRight ? 1 + multiple.factor : 1 / (1 - multiple.factor);
    remark = fmt::format("; it is as if this rank's part of the sum were counted {:.3g} times", times);
  }
  findings_.add({order, name, place, difference, got.size(), mine ? Blame::kThisRank : Blame::kSome, remark});
}

}  // namespace longspan
