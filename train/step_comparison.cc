#include "train/step_comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>
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

// Of the whole's rows, those of these tokens, and of them these columns.
std::vector<double> elements_of(const TensorRecord& whole, std::span<const int64_t> tokens, std::vector<TensorPiece> columns) {
  if (columns.empty()) columns = {{0, whole.width}};
  std::vector<double> elements;
  for (const int64_t token : tokens) {
    const auto row = whole.values.begin() + token * whole.width;
    for (const TensorPiece& piece : columns) elements.insert(elements.end(), row + piece.begin, row + piece.end);
  }
  return elements;
}

int64_t column_of_whole(const TensorRecord& tensor, int64_t column) {
  for (const TensorPiece& piece : tensor.columns) {
    if (column < piece.size()) return piece.begin + column;
    column -= piece.size();
  }
  return column;
}

// Adds the part to the parameter that it is of.
void add_to(std::vector<double>& whole, const ParameterPart& part) {
  for_each_run(part.box, [&](int64_t in_box, int64_t in_whole, int64_t count) {
    for (int64_t i = 0; i < count; ++i) whole[static_cast<size_t>(in_whole + i)] += part.values[static_cast<size_t>(in_box + i)];
  });
}

// Of the parameter, the same elements.
std::vector<double> same_of(const ParameterPart& whole, const Box& box) {
  std::vector<double> values(static_cast<size_t>(box.num_elements()));
  copy_overlap(whole.box, whole.values.data(), box, values.data(), sizeof(double));
  return values;
}

// Of the parameter's elements, those in the parts.
void mark(std::vector<bool>& held, const std::string& name, const std::vector<ParameterPart>& parts) {
  for (const ParameterPart& part : parts) {
    if (part.name != name) continue;
    for_each_run(part.box, [&](int64_t, int64_t in_whole, int64_t count) {
      std::fill_n(held.begin() + in_whole, count, true);
    });
  }
}

// What a difference is measured against: the parameter's largest gradient, or that of what it belongs to.
double scale_of(const ParameterPart& parameter, const std::vector<ParameterPart>& all) {
  double scale = largest_magnitude(parameter.values);
  const bool is_bias = parameter.name.ends_with(kBias);
  const std::string weight = parameter.name.substr(0, parameter.name.size() - kBias.size()) + ".weight";
  for (const ParameterPart& other : all) {
    scale = std::max(scale, (is_bias && other.name == weight ? 1 : kLeastShare) * largest_magnitude(other.values));
  }
  return scale;
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
      num_chunks_(run.pipeline.sequence_chunks) {
  const int stage = mesh_.coordinate(Axis::kPipeline);
  stage_ = world.split(stage, world.rank(), "stage");
  sharers_ = world.split(stage * run.mesh.data + mesh_.coordinate(Axis::kData), world.rank(), "sharers of a microbatch");
}

VerifyReport StepComparison::report() {
  compare_tensors();
  const int64_t last = expected_.tensors.back().order;
  compare_gradients(last + 1);
  compare_number(last + 2, "norm of the gradients", got_.norm, expected_.norm);
  compare_number(last + 3, "loss", got_.loss, expected_.loss);
  return findings_.settle(static_cast<int64_t>(got_.tensors.size() + got_.gradients.size()) + 2);
}

void StepComparison::compare_tensors() {
  struct Share {
    std::vector<ParameterPart> parts;
    int num_chunks = 0;
  };
  std::map<std::pair<int, std::string>, Share> shares;
  const auto expected = by_microbatch_and_name(expected_);
  const int first = first_microbatch();
  for (const TensorRecord& tensor : got_.tensors) {
    const int microbatch = tensor.microbatch / num_chunks_;
    const TensorRecord& whole = *expected.at({first + microbatch, tensor.name});
    if (tensor.rows != Rows::kParameters) {
      compare_rows(tensor, whole);
      continue;
    }
    // Those of a sequence's chunks together.
    Share& share = shares[{microbatch, tensor.name}];
    share.parts.insert(share.parts.end(), tensor.parts.begin(), tensor.parts.end());
    if (++share.num_chunks == num_chunks_) compare_share(share.parts, whole);
  }
}

// Of this data rank, as one rank counts them.
int StepComparison::first_microbatch() const {
  return mesh_.coordinate(Axis::kData) *
         static_cast<int>(run_.global_batch_sequences / run_.mesh.data / run_.micro_batch_sequences);
}

void StepComparison::compare_rows(const TensorRecord& tensor, const TensorRecord& whole) {
  const bool tokens = tensor.rows != Rows::kNone;
  const bool chunks = num_chunks_ > 1;
  const SequenceLayout& layout = *got_.layouts.at(tensor.microbatch);  // over the ranks of a ring, or the chunks
  const int ring = layout.num_ranks(), place = chunks ? tensor.microbatch % num_chunks_ : mesh_.coordinate(Axis::kContext);
  const int owner = (place - tensor.hop + ring) % ring;
  const std::vector<int64_t> indices = longspan::indices(layout.ranges(owner));
  const auto num_tokens = static_cast<int64_t>(indices.size());
  const bool piece = tensor.rows == Rows::kPieces;
  const TensorPiece own =
      piece ? tensor_piece_of(num_tokens, run_.mesh.tensor, mesh_.coordinate(Axis::kTensor)) : TensorPiece{0, num_tokens};
  const auto rows = std::span(indices).subspan(static_cast<size_t>(own.begin), static_cast<size_t>(own.size()));
  const std::vector<double> expected = tokens ? elements_of(whole, rows, tensor.columns) : whole.values;
  const auto difference = compare_elements(tensor.values, expected, largest_magnitude(whole.values), tolerance_);
  const int from = chunks ? owner : mesh_.map().rank_along(mesh_.world().rank(), Axis::kContext, owner);
  const std::string name = tensor.name + (tensor.hop == 0 ? "" : fmt::format(" from {} {}", chunks ? "chunk" : "rank", from));
  findings_.measured(difference.largest, name);
  if (difference.first < 0) return;
  std::string where = fmt::format("microbatch {}", tensor.microbatch / num_chunks_);
  if (tokens) {
    where += fmt::format(", token {}", rows[static_cast<size_t>(difference.first / tensor.width)]);
    if (tensor.width > 1) where += fmt::format(", element {}", column_of_whole(tensor, difference.first % tensor.width));
  }
  findings_.add({whole.order_at(tensor.hop), name, where, difference, tensor.values.size()});
}

// Summed over those that share the sequence and the weights, it is what one rank has. Collective over them.
void StepComparison::compare_share(const std::vector<ParameterPart>& share, const TensorRecord& whole) {
  std::vector<double> parts, sums;
  for (const ParameterPart& parameter : whole.parts) {
    const std::vector<double> part = whole_of(parameter, share);
    parts.insert(parts.end(), part.begin(), part.end());
  }
  sums = findings_.summed(*sharers_, parts);
  const auto of = [&whole](const std::vector<double>& flat, size_t p) {
    auto begin = flat.begin();
    for (size_t i = 0; i < p; ++i) begin += static_cast<int64_t>(whole.parts[i].values.size());
    return std::vector<double>(begin, begin + static_cast<int64_t>(whole.parts[p].values.size()));
  };
  size_t first = whole.parts.size();
  for (size_t p = 0; p < whole.parts.size(); ++p) {
    const ParameterPart& e = whole.parts[p];
    const auto difference = compare_elements(of(sums, p), e.values, scale_of(e, whole.parts), tolerance_);
    findings_.measured(difference.largest, whole.name + ", " + e.name);
    if (difference.first >= 0) first = std::min(first, p);
  }
  const auto p = static_cast<size_t>(findings_.smallest(*sharers_, static_cast<int64_t>(first)));
  if (p == whole.parts.size()) return;
  const ParameterPart& e = whole.parts[p];
  Sum sum{.got = of(sums, p),
          .part = of(parts, p),
          .held = std::vector<bool>(e.values.size(), false),
          .scale = scale_of(e, whole.parts),
          .kind = Sum::Part::kHoldsTheError};
  mark(sum.held, e.name, share);
  const bool wrong = compare_elements(sum.got, e.values, sum.scale, tolerance_).first >= 0;
  sum.has = wrong ? Findings::Has::kWrong : Findings::Has::kRight;
  blame({whole.order, fmt::format("gradient of {} by microbatch {}", e.name, whole.microbatch - first_microbatch()), *sharers_},
        e, sum);
}

// Every rank looks at those that it keeps. Collective over the ranks of a stage.
void StepComparison::compare_gradients(int64_t order) {
  const std::vector<ParameterPart>& all = expected_.gradients;
  size_t first = all.size();
  for (const ParameterPart& part : got_.gradients) {
    const auto at = std::find_if(all.begin(), all.end(), [&](const auto& e) { return e.name == part.name; });
    check(at != all.end(), "one rank has no parameter {}", part.name);
    const auto difference = compare_elements(part.values, same_of(*at, part.box), scale_of(*at, all), tolerance_);
    findings_.measured(difference.largest, "gradient of " + part.name);
    if (difference.first >= 0) first = std::min(first, static_cast<size_t>(at - all.begin()));
  }
  const auto p = static_cast<size_t>(findings_.smallest(*stage_, static_cast<int64_t>(first)));
  if (p == all.size()) return;
  const ParameterPart& e = all[p];
  Sum sum{.got = {},
          .part = std::vector<double>(e.values.size(), 0),
          .held = std::vector<bool>(e.values.size(), false),
          .scale = scale_of(e, all),
          .kind = Sum::Part::kIsRight};
  for (const TensorRecord& tensor : got_.tensors) {
    if (tensor.rows != Rows::kParameters) continue;
    mark(sum.held, e.name, tensor.parts);
    for (const ParameterPart& part : tensor.parts) {
      if (part.name == e.name) add_to(sum.part, part);
    }
  }
  sum.got = agreed_gradient(e, sum.scale, sum.has);
  blame({order, fmt::format("gradient of {} after the reduction", e.name), *stage_}, e, sum);
}

// What the ranks of a stage have of a parameter's gradient, put together; if those that keep the same elements do not have the
// same, what this rank has, and the right values for the rest. Collective over the stage.
std::vector<double> StepComparison::agreed_gradient(const ParameterPart& expected, double scale, Findings::Has& has) const {
  constexpr double kNobody = -std::numeric_limits<double>::infinity(), kNotFinite = std::numeric_limits<double>::max();
  const size_t n = expected.values.size();
  std::vector<double> most(n, kNobody), least(n, kNobody), got = expected.values;
  std::vector<bool> own(n, false);
  for (const ParameterPart& part : got_.gradients) {
    if (part.name != expected.name) continue;
    for_each_run(part.box, [&](int64_t in_box, int64_t in_whole, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        const auto at = static_cast<size_t>(in_whole + i);
        own[at] = true;
        got[at] = part.values[static_cast<size_t>(in_box + i)];
        const double error = got[at] - expected.values[at];
        most[at] = std::isfinite(error) ? error : kNotFinite;
        least[at] = -most[at];
      }
    });
  }
  most = findings_.largest(*stage_, most);
  least = findings_.largest(*stage_, least);
  bool agree = true;
  for (size_t i = 0; i < n; ++i) agree = agree && (most[i] == kNobody || most[i] + least[i] <= tolerance_ * scale);
  const bool wrong = compare_elements(got, expected.values, scale, tolerance_).first >= 0;
  has = agree || wrong ? Findings::Has::kWrong : Findings::Has::kRight;
  for (size_t i = 0; agree && i < n; ++i) {
    if (!own[i] && most[i] != kNobody) got[i] += most[i];
  }
  return got;
}

void StepComparison::compare_number(int64_t order, const std::string& name, double got, double expected) {
  const auto difference = compare_elements({&got, 1}, {&expected, 1}, std::abs(expected), tolerance_);
  findings_.measured(difference.largest, name);
  if (difference.first >= 0) findings_.add({order, name, "of the global batch", difference, 1});
}

std::vector<double> StepComparison::whole_of(const ParameterPart& parameter, const std::vector<ParameterPart>& parts) const {
  std::vector<double> whole(parameter.values.size(), 0);
  for (const ParameterPart& part : parts) {
    if (part.name == parameter.name) add_to(whole, part);
  }
  return whole;
}

// Every rank of the group has the same wrong sum; whose part explains it is to blame.
void StepComparison::blame(const Where& where, const ParameterPart& expected, const Sum& sum) {
  std::vector<double> error(sum.got.size()), own = expected.values;
  for (size_t i = 0; i < error.size(); ++i) {
    error[i] = sum.got[i] - expected.values[i];
    if (sum.held[i]) own[i] = sum.got[i];
  }
  const TensorDifference difference = compare_elements(own, expected.values, sum.scale, tolerance_);
  Multiple multiple = as_multiple_of(error, sum.part);
  const bool nothing = difference.first >= 0 && largest_magnitude(sum.part) == 0;
  if (nothing) multiple.residual = kExplains;  // suspect, if no other rank's part explains the error
  const bool mine = findings_.is_to_blame(where.group, multiple.residual, sum.has);
  if (difference.first < 0) return;
  std::string remark = mine ? "" : "; no single rank's part of the sum explains it";
  if (mine && nothing) remark = "; this rank's part of the sum is nothing";
  if (mine && multiple.residual < kExplains) {
    const double times = sum.kind == Sum::Part::kIsRight ? 1 + multiple.factor : 1 / (1 - multiple.factor);
    remark = fmt::format("; it is as if this rank's part of the sum were counted {:.3g} times", times);
  }
  findings_.add({where.order, where.name, index_text(expected.box.whole, difference.first), difference, sum.got.size(),
                 mine ? Blame::kThisRank : Blame::kSome, remark});
}

}  // namespace longspan
