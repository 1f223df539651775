#include "core/nn/parameter.h"

#include <algorithm>

#include "core/base/random.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/linear_algebra.h"
#include "core/runtime/parallel.h"

namespace longspan {

namespace {

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
  added.first_block = added.last_block = block_;
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
  share_ = share;
  layout_ = layout(share);
  const int64_t total = layout_.num_elements;
  const DType accumulator = context.accumulator_dtype();
  values_ = context.zeros({total}, context.compute_dtype(), MemoryTag::kWeights);
  masters_ = context.compute_dtype() == accumulator
                 ? values_
                 : context.zeros({total / share.num_ranks}, accumulator, MemoryTag::kWeights);
  if (purpose == Purpose::kTraining) gradients_ = context.zeros({total}, accumulator, MemoryTag::kGradients);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = *parameters_[i];
    p.place = layout_.begins[i];
    const int64_t end = p.place + p.shape.num_elements();
    p.value = values_.slice(0, p.place, end).reshape(p.shape);
    if (masters_.num_elements() == total) p.master = masters_.slice(0, p.place, end).reshape(p.shape);
    if (gradients_.defined()) p.gradient = gradients_.slice(0, p.place, end).reshape(p.shape);
  }
  make_parts();
}

// Pieces lie one after the other there. Those of the buckets before take an equal part of them.
Tensor ParameterSet::masters_of(const FlatRange& own) const {
  if (masters_.num_elements() == layout_.num_elements) return masters_.slice(0, own.begin, own.end);
  for (const Bucket& bucket : layout_.buckets) {
    if (own.begin < bucket.own.begin || own.end > bucket.own.end) continue;
    const int64_t begin = bucket.range.begin / share_.num_ranks + own.begin - bucket.own.begin;
    return masters_.slice(0, begin, begin + own.size());
  }
  raise(ErrorKind::kInternal, "rank {} of {} keeps no masters of elements {} to {}", share_.rank, share_.num_ranks, own.begin,
        own.end);
}

void ParameterSet::make_parts() {
  auto bucket = layout_.buckets.begin();
  for (const auto& p : parameters_) {
    if (p->shape.num_elements() == 0) continue;
    while (p->place >= bucket->range.end) ++bucket;
    const FlatRange own = {std::max(p->place, bucket->own.begin), std::min(p->place + p->shape.num_elements(), bucket->own.end)};
    if (own.begin >= own.end) continue;
    Part& part = parts_.emplace_back();
    part.parameter = p.get();
    part.begin = own.begin - p->place;
    part.end = own.end - p->place;
    part.value = values_.slice(0, own.begin, own.end);
    part.master = masters_of(own);
    if (gradients_.defined()) part.gradient = gradients_.slice(0, own.begin, own.end);
  }
}

std::vector<FlatRange> ParameterSet::own_ranges() const {
  if (share_.num_ranks == 1) return {{0, layout_.num_elements}};
  std::vector<FlatRange> ranges;
  for (const Bucket& bucket : layout_.buckets) ranges.push_back(bucket.own);
  return ranges;
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
  for (const FlatRange& own : own_ranges()) {
    context.kernels<Elementwise>().convert(context, masters_of(own), values_.slice(0, own.begin, own.end));
  }
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
