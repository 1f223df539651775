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
void fill(const Context& context, const ParameterSet::Part& part, uint64_t seed, double standard_deviation,
          const Tensor& values) {
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

std::set<size_t> ParameterSet::buckets_read_by(int block) const {
  std::set<size_t> found;
  for (const auto& p : parameters_) {
    if (p->first_block != block && p->last_block != block) continue;
    for (size_t i = 0; i < layout_.buckets.size(); ++i) {
      const Bucket& bucket = layout_.buckets[i];
      if (p->first_block >= bucket.first_block && p->first_block < bucket.end_block) found.insert(i);
    }
  }
  return found;
}

void ParameterSet::materialize(const Context& context, Purpose purpose, const StateShare& share) {
  share_ = share;
  layout_ = layout(share);
  const int64_t total = layout_.num_elements, own = total / share.num_ranks;
  const DType accumulator = context.accumulator_dtype();
  values_ = context.zeros({share.of_weights() ? own : total}, context.compute_dtype(), MemoryTag::kWeights);
  masters_ = context.compute_dtype() == accumulator ? values_ : context.zeros({own}, accumulator, MemoryTag::kWeights);
  if (purpose == Purpose::kTraining) {
    gradients_ = context.zeros({share.of_gradients() ? own : total}, accumulator, MemoryTag::kGradients);
  }
  open_gradients_.resize(layout_.buckets.size());
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i]->place = layout_.begins[i];
  const auto all_of = [&](const Tensor& buffer, Tensor Parameter::*which) {
    if (!buffer.defined() || buffer.num_elements() != total) return;
    for (const Bucket& b : layout_.buckets) set_tensors(b, which, buffer.slice(0, b.range.begin, b.range.end));
  };
  all_of(values_, &Parameter::value);
  all_of(masters_, &Parameter::master);
  all_of(gradients_, &Parameter::gradient);
  make_parts();
}

// `flat`: the bucket's; undefined: none.
void ParameterSet::set_tensors(const Bucket& bucket, Tensor Parameter::*which, const Tensor& flat) {
  for (const auto& p : parameters_) {
    if (p->first_block < bucket.first_block || p->first_block >= bucket.end_block) continue;
    const int64_t begin = p->place - bucket.range.begin;
    p.get()->*which = flat.defined() ? flat.slice(0, begin, begin + p->shape.num_elements()).reshape(p->shape) : Tensor();
  }
}

// Pieces lie one after the other there. Those of the buckets before take an equal part of them.
Tensor ParameterSet::own_of(const Tensor& buffer, const FlatRange& own) const {
  if (buffer.num_elements() == layout_.num_elements) return buffer.slice(0, own.begin, own.end);
  for (const Bucket& bucket : layout_.buckets) {
    if (own.begin < bucket.own.begin || own.end > bucket.own.end) continue;
    const int64_t begin = bucket.range.begin / share_.num_ranks + own.begin - bucket.own.begin;
    return buffer.slice(0, begin, begin + own.size());
  }
  raise(ErrorKind::kInternal, "rank {} of {} does not keep elements {} to {}", share_.rank, share_.num_ranks, own.begin, own.end);
}

void ParameterSet::open_gradients(const Context& context, const Bucket& bucket) {
  if (!share_.of_gradients()) return;
  Tensor& open = open_gradients_.at(static_cast<size_t>(&bucket - layout_.buckets.data()));
  if (open.defined()) return;
  open = context.zeros({bucket.range.size()}, gradients_.dtype(), MemoryTag::kGradients);
  set_tensors(bucket, &Parameter::gradient, open);
}

Tensor ParameterSet::take_gradients(const Bucket& bucket) {
  if (!share_.of_gradients()) return gradients_.slice(0, bucket.range.begin, bucket.range.end);
  set_tensors(bucket, &Parameter::gradient, {});
  return std::exchange(open_gradients_.at(static_cast<size_t>(&bucket - layout_.buckets.data())), {});
}

Tensor ParameterSet::open_values(const Context& context, const Bucket& bucket) {
  const Tensor flat = context.empty({bucket.range.size()}, values_.dtype(), MemoryTag::kWeights);
  const int64_t begin = bucket.own.begin - bucket.range.begin;
  context.copy(own_of(values_, bucket.own), flat.slice(0, begin, begin + bucket.own.size()));
  set_tensors(bucket, &Parameter::value, flat);
  return flat;
}

void ParameterSet::close_values(const Bucket& bucket) { set_tensors(bucket, &Parameter::value, {}); }

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
    part.value = own_of(values_, own);
    part.master = own_of(masters_, own);
    if (gradients_.defined()) part.gradient = own_of(gradients_, own);
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
    context.kernels<Elementwise>().convert(context, own_of(masters_, own), own_of(values_, own));
  }
}

void ParameterSet::refresh_values(const Context& context) {
  check(share_.num_ranks == 1, "values of {} ranks are refreshed together", share_.num_ranks);
  convert_masters(context);
  pack_values(context);
}

void ParameterSet::pack_values(const Context& context) {
  if (share_.of_weights()) return;  // they come and go; products do without
  for (const auto& p : parameters_) {
    if (!p->multiplies) continue;
    const auto& algebra = context.kernels<LinearAlgebra>();
    p->packed_transposed = algebra.pack(context, Transpose::kYes, p->value, p->packed_transposed);
    if (gradients_.defined()) p->packed = algebra.pack(context, Transpose::kNo, p->value, p->packed);
  }
}

void ParameterSet::zero_gradients(const Context& context) { context.clear(gradients_); }

}  // namespace longspan
