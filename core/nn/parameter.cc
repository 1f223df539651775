#include "core/nn/parameter.h"

#include <algorithm>

#include "core/base/random.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/linear_algebra.h"
#include "core/runtime/parallel.h"

namespace longspan {

namespace {

// Each parameter begins on a cache line, and each rank's share of the state.
constexpr int64_t kLine = 16;
int64_t padded(int64_t num_elements, int64_t unit = kLine) { return (num_elements + unit - 1) / unit * unit; }

// Writes to `values`, which are of the host: elements [begin, end) of the parameter's storage.
template <class T>
void fill(const Context& context, const ParameterSet::Part& part, uint64_t seed, double standard_deviation, const Tensor& values) {
  const Parameter& parameter = *part.parameter;
  T* data = values.data<T>();
  if (parameter.initialization != Initialization::kNormal) {
    std::fill_n(data, part.end - part.begin, static_cast<T>(parameter.initialization == Initialization::kOnes ? 1 : 0));
    return;
  }
  const RandomStream random(seed, parameter.name);
  for (const Box& box : boxes_of_range(parameter.box, part.begin, part.end)) {
    for_each_run(box, [&](int64_t in_box, int64_t in_whole, int64_t count) {
      parallel_for(context, count, 4096, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          data[in_box + i] = static_cast<T>(standard_deviation * random.normal(static_cast<uint64_t>(in_whole + i)));
        }
      });
    });
    data += box.num_elements();
  }
}

}  // namespace

Parameter& ParameterSet::add(std::string name, const Box& box, Initialization initialization) {
  expect_box(box, name.c_str());
  check(!masters_.defined(), "parameter {} was added after the storage was made", name);
  for (const auto& p : parameters_) check(p->name != name, "two parameters are called {}", name);
  parameters_.push_back(std::make_unique<Parameter>());
  Parameter& added = *parameters_.back();
  added.name = std::move(name);
  added.box = added.counted = box;
  added.shape = box.extent;
  added.initialization = initialization;
  return added;
}

int64_t ParameterSet::num_elements() const {
  int64_t n = 0;
  for (const auto& p : parameters_) n += p->shape.num_elements();
  return n;
}

int64_t ParameterSet::num_elements_of_whole() const {
  int64_t n = 0;
  for (const auto& p : parameters_) n += p->box.whole.num_elements();
  return n;
}

void ParameterSet::materialize(const Context& context, Purpose purpose, const StateShare& share) {
  check(share.rank >= 0 && share.rank < share.num_ranks, "share {} of {}", share.rank, share.num_ranks);
  share_ = share;
  std::vector<int64_t> begins;
  int64_t total = 0;
  for (const auto& p : parameters_) {
    begins.push_back(total);
    total += padded(p->shape.num_elements());
  }
  total = padded(total, kLine * share.num_ranks);
  const int64_t piece = total / share.num_ranks;
  const DType accumulator = context.accumulator_dtype();
  const bool values_are_masters = context.compute_dtype() == accumulator;
  values_ = context.zeros({total}, context.compute_dtype(), MemoryTag::kWeights);
  masters_begin_ = values_are_masters ? 0 : share.rank * piece;
  masters_ = values_are_masters ? values_ : context.zeros({piece}, accumulator, MemoryTag::kWeights);
  if (purpose == Purpose::kTraining) gradients_ = context.zeros({total}, accumulator, MemoryTag::kGradients);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = *parameters_[i];
    const int64_t begin = begins[i], end = begin + p.shape.num_elements();
    p.value = values_.slice(0, begin, end).reshape(p.shape);
    if (masters_.num_elements() == total) p.master = masters_.slice(0, begin, end).reshape(p.shape);
    if (gradients_.defined()) p.gradient = gradients_.slice(0, begin, end).reshape(p.shape);
  }
  make_parts(begins);
}

void ParameterSet::make_parts(const std::vector<int64_t>& begins) {
  const int64_t piece = values_.num_elements() / share_.num_ranks, first = share_.rank * piece;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = *parameters_[i];
    const int64_t begin = std::max(begins[i], first), end = std::min(begins[i] + p.shape.num_elements(), first + piece);
    if (begin >= end) continue;
    Part& part = parts_.emplace_back();
    part.parameter = &p;
    part.begin = begin - begins[i];
    part.end = end - begins[i];
    part.value = values_.slice(0, begin, end);
    part.master = masters_.slice(0, begin - masters_begin_, end - masters_begin_);
    if (gradients_.defined()) part.gradient = gradients_.slice(0, begin, end);
  }
}

Tensor ParameterSet::own_gradients() const {
  const int64_t piece = gradients_.num_elements() / share_.num_ranks;
  return gradients_.slice(0, share_.rank * piece, (share_.rank + 1) * piece);
}

void ParameterSet::initialize(const Context& context, uint64_t seed, double standard_deviation) {
  for (const Part& part : parts_) {
    context.write_from_host(part.master, [&](const Tensor& values) {
      if (values.dtype() == DType::kFloat64) {
        fill<double>(context, part, seed, standard_deviation, values);
      } else {
        fill<float>(context, part, seed, standard_deviation, values);
      }
    });
  }
  if (share_.num_ranks == 1) refresh_values(context);
}

void ParameterSet::convert_masters(const Context& context) {
  if (values_.dtype() == masters_.dtype()) return;
  const int64_t end = masters_begin_ + masters_.num_elements();
  context.kernels<Elementwise>().convert(context, masters_, values_.slice(0, masters_begin_, end));
}

void ParameterSet::refresh_values(const Context& context) {
  check(share_.num_ranks == 1, "values of {} ranks are refreshed together", share_.num_ranks);
  convert_masters(context);
  pack_values(context);
}

void ParameterSet::pack_values(const Context& context) {
  for (const auto& p : parameters_) {
    if (!p->multiplies) continue;
    const auto& algebra = context.kernels<LinearAlgebra>();
    p->packed_transposed = algebra.pack(context, Transpose::kYes, p->value, p->packed_transposed);
    if (gradients_.defined()) p->packed = algebra.pack(context, Transpose::kNo, p->value, p->packed);
  }
}

void ParameterSet::zero_gradients(const Context& context) { context.clear(gradients_); }

}  // namespace longspan
