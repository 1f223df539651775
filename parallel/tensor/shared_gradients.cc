#include "parallel/tensor/shared_gradients.h"

namespace longspan {

namespace {

bool holds(const FlatRange& range, const Parameter& p) { return p.place >= range.begin && p.place < range.end; }

// visit(gradient, summed): what this rank has of each shared part, and its place in the buffer that is summed.
template <class Visit>
void for_each_part(const ParameterSet& parameters, const FlatRange& range, const Tensor& buffer, Visit visit) {
  int64_t begin = 0;
  for (const auto& p : parameters.all()) {
    if (!holds(range, *p)) continue;
    for (const Box& shared : p->shared) {
      const int64_t end = begin + shared.num_elements();
      if (const auto part = overlap(shared, p->box)) {
        visit(part_of(p->gradient, p->box, *part), part_of(buffer.slice(0, begin, end), shared, *part));
      }
      begin = end;
    }
  }
}

}  // namespace

int64_t SharedGradients::num_elements() const {
  int64_t n = 0;
  for (const auto& p : parameters_.all()) {
    if (!holds(range_, *p)) continue;
    for (const Box& shared : p->shared) n += shared.num_elements();
  }
  return n;
}

void SharedGradients::reduce(Context& context) {
  const int64_t n = num_elements();
  if (axis_.size() == 1 || n == 0) return;
  const Tensor buffer = context.zeros({n}, context.accumulator_dtype(), MemoryTag::kCommunication);
  for_each_part(parameters_, range_, buffer, [&](const Tensor& mine, const Tensor& summed) { context.copy(mine, summed); });
  axis_.all_reduce(context.stream(), buffer, ReduceOp::kSum);
  for_each_part(parameters_, range_, buffer, [&](const Tensor& mine, const Tensor& summed) { context.copy(summed, mine); });
}

std::vector<TensorPiece> counted_ranges(const ParameterSet& parameters) {
  std::vector<TensorPiece> ranges;
  bool open = false;  // whether the last range goes on to what comes next
  for (const auto& p : parameters.all()) {
    const int64_t offset = p->place;
    if (p->counted == p->box) {
      if (!open) ranges.push_back({offset, offset});
      ranges.back().end = offset + p->shape.num_elements();
      open = true;
      continue;
    }
    open = false;
    if (p->counted.num_elements() == 0) continue;
    const int64_t begin = offset + place_in(p->box, p->counted);
    ranges.push_back({begin, begin + p->counted.num_elements()});
  }
  return ranges;
}

}  // namespace longspan
