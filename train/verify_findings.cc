#include "train/verify_findings.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace longspan {

std::string index_text(const Shape& shape, int64_t flat) {
  std::string text;
  for (int dim = shape.rank(); dim-- > 0; flat /= shape[dim]) {
    text = fmt::format("{}{}{}", flat % shape[dim], text.empty() ? "" : ", ", text);
  }
  return "[" + text + "]";
}

Findings::Findings(const ProcessMesh& mesh) : mesh_(mesh), context_(Context::Options{}) {}

void Findings::measured(double difference, const std::string& name) {
  if (difference <= largest_ && !where_.empty()) return;
  largest_ = difference;
  where_ = name;
}

void Findings::add(const Finding& finding) {
  const bool own = finding.blame == Blame::kThisRank;
  const double key = 2 * static_cast<double>(finding.order) + (own ? 0 : 1);
  if (key >= first_.key && (!own || key >= own_.key)) return;
  const TensorDifference& difference = finding.difference;
  const std::string text = fmt::format(
      "{}, {}, {}: {} where one rank has {}; {} of {} elements are off, by up to {:.2g} of the largest{}", rank_name(),
      finding.name, finding.place, difference.got, difference.expected, difference.num_off, finding.num_elements,
      difference.largest, finding.remark);
  if (key < first_.key) first_ = {key, text};
  if (own && key < own_.key) own_ = {key, text};
}

VerifyReport Findings::settle(int64_t num_tensors) {
  Communicator& world = mesh_.world();
  const std::vector<double> keys = gathered(world, first_.key), differences = gathered(world, largest_);
  VerifyReport report;
  const auto most = std::max_element(differences.begin(), differences.end());
  const int owner = static_cast<int>(most - differences.begin());
  report.largest = *most;
  report.where = broadcast(world, where_ + " on " + rank_name(), owner);
  report.num_tensors = static_cast<int64_t>(summed(world, {static_cast<double>(num_tensors)}).front());
  const double least = *std::min_element(keys.begin(), keys.end());
  if (!std::isfinite(least)) return report;
  const int speaker = first_in_ring(keys);
  report.difference = broadcast(world, first_.text, speaker);
  std::string others;
  for (size_t rank = 0; rank < keys.size(); ++rank) {
    if (keys[rank] == least && static_cast<int>(rank) != speaker)
      others += fmt::format("{}{}", others.empty() ? "" : ", ", rank);
  }
  if (!others.empty()) report.difference += "; off there, too: rank " + others;
  report.difference += "; all that was computed before agrees";
  const std::vector<double> own_keys = gathered(world, own_.key);
  const double least_own = *std::min_element(own_keys.begin(), own_keys.end());
  if (least_own == least || !std::isfinite(least_own)) return report;
  report.difference += "; the first after it that a rank has wrong by itself: ";
  report.difference += broadcast(world, own_.text, first_in_ring(own_keys));
  return report;
}

std::vector<double> Findings::reduced(Communicator& group, const std::vector<double>& values, ReduceOp op) const {
  const Tensor result = context_.empty({static_cast<int64_t>(values.size())}, DType::kFloat64, MemoryTag::kWorkspace);
  std::copy(values.begin(), values.end(), result.data<double>());
  group.all_reduce(context_.stream(), result, op);
  return {result.data<double>(), result.data<double>() + values.size()};
}

std::vector<double> Findings::summed(Communicator& group, const std::vector<double>& values) const {
  return reduced(group, values, ReduceOp::kSum);
}

std::vector<double> Findings::largest(Communicator& group, const std::vector<double>& values) const {
  return reduced(group, values, ReduceOp::kMax);
}

int64_t Findings::smallest(Communicator& group, int64_t value) const {
  const Tensor cell = context_.empty({1}, DType::kInt64, MemoryTag::kWorkspace);
  *cell.data<int64_t>() = -value;
  group.all_reduce(context_.stream(), cell, ReduceOp::kMax);
  return -*cell.data<int64_t>();
}

bool Findings::is_to_blame(Communicator& group, double residual, Has has) const {
  const std::vector<double> off = gathered(group, has == Has::kWrong ? 1 : 0), residuals = gathered(group, residual);
  const auto rank = static_cast<ptrdiff_t>(group.rank());
  if (std::find(off.begin(), off.end(), 0) != off.end())
    return std::find(off.begin(), off.end(), 1) - off.begin() == rank;
  if (group.size() == 1) return true;
  const auto best = std::min_element(residuals.begin(), residuals.end());
  return *best <= kExplains && best - residuals.begin() == rank;
}

std::vector<double> Findings::gathered(Communicator& group, double value) const {
  const Tensor mine = context_.empty({1}, DType::kFloat64, MemoryTag::kWorkspace);
  const Tensor all = context_.empty({group.size(), 1}, DType::kFloat64, MemoryTag::kWorkspace);
  *mine.data<double>() = value;
  group.all_gather(context_.stream(), mine, all);
  return {all.data<double>(), all.data<double>() + group.size()};
}

std::string Findings::broadcast(Communicator& group, std::string text, int root) const {
  const Tensor size = context_.empty({1}, DType::kInt64, MemoryTag::kWorkspace);
  *size.data<int64_t>() = static_cast<int64_t>(text.size());
  group.broadcast(context_.stream(), size, root);
  text.resize(static_cast<size_t>(*size.data<int64_t>()));
  const Tensor bytes = context_.empty({static_cast<int64_t>(text.size())}, DType::kUInt8, MemoryTag::kWorkspace);
  std::memcpy(bytes.raw(), text.data(), text.size());
  group.broadcast(context_.stream(), bytes, root);
  std::memcpy(text.data(), bytes.raw(), text.size());
  return text;
}

std::string Findings::rank_name() const {
  const MeshShape& shape = mesh_.shape();
  std::string text = fmt::format("rank {}", mesh_.world().rank());
  if (shape.num_ranks() == shape.context) return text;
  std::string places;
  for (const Axis axis : {Axis::kPipeline, Axis::kData, Axis::kContext, Axis::kTensor}) {
    if (shape[axis] == 1 && axis != Axis::kContext) continue;
    places += fmt::format("{}{} {}", places.empty() ? "" : ", ", name(axis), mesh_.coordinate(axis));
  }
  return fmt::format("{} ({})", text, places);
}

int Findings::first_in_ring(const std::vector<double>& keys) const {
  const double least = *std::min_element(keys.begin(), keys.end());
  const int ring = mesh_.shape().context;
  const auto off = [&](int rank) { return keys[static_cast<size_t>(rank)] == least; };
  int first = -1;
  for (int rank = 0; rank < static_cast<int>(keys.size()); ++rank) {
    if (!off(rank)) continue;
    const int own = mesh_.map().coordinate_of(rank, Axis::kContext);
    const int previous = mesh_.map().rank_along(rank, Axis::kContext, (own + ring - 1) % ring);
    if (!off(previous)) return rank;
    if (first < 0) first = rank;
  }
  return first;
}

}  // namespace longspan
