#include "core/nn/parameter.h"

#include <algorithm>

#include "core/base/random.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/linear_algebra.h"
#include "core/runtime/parallel.h"

namespace longspan {

namespace {

// Each parameter begins on a cache line.
int64_t padded(int64_t num_elements) { return (num_elements + 15) / 16 * 16; }

// Writes to `values`, which are of the host.
template <class T>
void fill(const Context& context, const Parameter& parameter, uint64_t seed, double standard_deviation,
          const Tensor& values) {
  T* data = values.data<T>();
  if (parameter.initialization != Initialization::kNormal) {
    std::fill_n(data, parameter.shape.num_elements(), static_cast<T>(parameter.initialization == Initialization::kOnes ? 1 : 0));
    return;
  }
  const RandomStream random(seed, parameter.name);
  for_each_run(parameter.box, [&](int64_t in_box, int64_t in_whole, int64_t count) {
    parallel_for(context, count, 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        data[in_box + i] = static_cast<T>(standard_deviation * random.normal(static_cast<uint64_t>(in_whole + i)));
      }
    });
  });
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

void ParameterSet::materialize(const Context& context, Purpose purpose) {
  int64_t total = 0;
  for (const auto& p : parameters_) total += padded(p->shape.num_elements());
  const DType accumulator = context.accumulator_dtype();
  masters_ = context.zeros({total}, accumulator, MemoryTag::kWeights);
  values_ = context.compute_dtype() == accumulator
                ? masters_
                : context.zeros({total}, context.compute_dtype(), MemoryTag::kWeights);
  if (purpose == Purpose::kTraining) gradients_ = context.zeros({total}, accumulator, MemoryTag::kGradients);
  int64_t begin = 0;
  for (const auto& p : parameters_) {
    const int64_t end = begin + p->shape.num_elements();
    p->master = masters_.slice(0, begin, end).reshape(p->shape);
    p->value = values_.slice(0, begin, end).reshape(p->shape);
    if (gradients_.defined()) p->gradient = gradients_.slice(0, begin, end).reshape(p->shape);
    begin += padded(p->shape.num_elements());
  }
}

void ParameterSet::initialize(const Context& context, uint64_t seed, double standard_deviation) {
  for (const auto& p : parameters_) {
    context.write_from_host(p->master, [&](const Tensor& values) {
      if (values.dtype() == DType::kFloat64) {
        fill<double>(context, *p, seed, standard_deviation, values);
      } else {
        fill<float>(context, *p, seed, standard_deviation, values);
      }
    });
  }
  refresh_values(context);
}

void ParameterSet::refresh_values(const Context& context) {
  if (values_.dtype() != masters_.dtype()) context.kernels<Elementwise>().convert(context, masters_, values_);
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
