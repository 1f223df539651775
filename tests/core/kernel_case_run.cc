// How the cases of the table are run, and what they give is compared.
#include "tests/core/kernel_cases.h"

#include <fmt/core.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/base/cache_size.h"
#include "core/base/random.h"
#include "core/kernels/backends.h"
#include "core/kernels/linear_algebra.h"

namespace longspan::test {

void write_element(DType dtype, void* to, double value) {
  switch (dtype) {
    case DType::kFloat64:
      *static_cast<double*>(to) = value;
      break;
    case DType::kFloat32:
      *static_cast<float*>(to) = static_cast<float>(value);
      break;
    case DType::kBFloat16:
      *static_cast<bfloat16*>(to) = bfloat16(static_cast<float>(value));
      break;
    case DType::kInt32:
      *static_cast<int32_t*>(to) = static_cast<int32_t>(value);
      break;
    default:
      raise(ErrorKind::kInternal, "no test operand is {}", name(dtype));
  }
}

namespace {

double round_to(DType dtype, double value) {
  if (dtype == DType::kFloat64) return value;
  if (dtype == DType::kFloat32) return static_cast<float>(value);
  return static_cast<float>(bfloat16(static_cast<float>(value)));
}

// Calls visit(address of element i in row-major order, i).
template <class Visit>
void for_each_element(const Tensor& tensor, Visit visit) {
  const int rank = tensor.rank();
  const int64_t width = rank == 0 ? 1 : tensor.size(rank - 1);
  const int64_t num_rows = width == 0 ? 0 : tensor.num_elements() / width;
  for (int64_t row = 0; row < num_rows; ++row) {
    int64_t offset = 0, rest = row;
    for (int d = rank - 2; d >= 0; --d) {
      offset += rest % tensor.size(d) * tensor.layout().strides()[d];
      rest /= tensor.size(d);
    }
    auto* first =
        static_cast<std::byte*>(tensor.raw()) + static_cast<size_t>(offset) * size_bytes(tensor.dtype());
    for (int64_t i = 0; i < width; ++i) {
      visit(first + static_cast<size_t>(i) * size_bytes(tensor.dtype()), row * width + i);
    }
  }
}

double read(DType dtype, const void* from) {
  switch (dtype) {
    case DType::kFloat64:
      return *static_cast<const double*>(from);
    case DType::kFloat32:
      return *static_cast<const float*>(from);
    case DType::kBFloat16:
      return static_cast<float>(*static_cast<const bfloat16*>(from));
    case DType::kInt32:
      return *static_cast<const int32_t*>(from);
    default:
      raise(ErrorKind::kInternal, "no test operand is {}", name(dtype));
  }
}

double draw(const Operand& operand, const RandomStream& random, uint64_t i, DType precision) {
  if (operand.kind == Kind::kTargets && random.below(2 * i, 5) == 0) return -1;
  if (operand.kind == Kind::kTokens || operand.kind == Kind::kTargets) {
    return static_cast<double>(random.below(2 * i + 1, static_cast<uint64_t>(operand.bound)));
  }
  if (operand.fill == Fill::kNan) return std::numeric_limits<double>::quiet_NaN();
  const double value = random.normal(i);
  return round_to(operand.kind == Kind::kCompute ? precision : accumulator(precision),
                  operand.fill == Fill::kPositive ? std::abs(value) + 0.01 : value);
}

DType dtype_for(const Context& context, Kind kind) {
  if (kind == Kind::kCompute) return context.compute_dtype();
  return kind == Kind::kAccumulator ? context.accumulator_dtype() : DType::kInt32;
}

// A tensor and the memory that it is part of.
struct Part {
  Tensor whole, part;
};

// What the operand is of the memory that make_operand makes for it.
Tensor part_of(const Tensor& whole, const Operand& operand, int64_t offset) {
  const int last = operand.shape.rank() - 1;
  if (operand.padding > 0) return whole.slice(last, 0, operand.shape[last]);
  return whole.slice(0, offset, offset + operand.shape.num_elements()).reshape(operand.shape);
}

Part make_operand(const Context& context, const Operand& operand, const RandomStream& random, DType precision, int64_t offset) {
  Shape padded = operand.shape;
  padded[padded.rank() - 1] += operand.padding;
  const Shape shape = operand.padding > 0 ? padded : Shape{offset + operand.shape.num_elements()};
  const DType dtype = dtype_for(context, operand.kind);
  const Tensor drawn = context.host().zeros(shape, dtype);
  for_each_element(part_of(drawn, operand, offset), [&](void* element, int64_t i) {
    write_element(dtype, element, draw(operand, random, static_cast<uint64_t>(i), precision));
  });
  const Tensor there = context.to_device(drawn);
  return {there, part_of(there, operand, offset)};
}

}  // namespace

std::vector<Tensor> run_case(const Context& context, const KernelCase& kernel_case, DType precision, int64_t offset) {
  std::vector<Tensor> wholes, parts, results;
  for (const Operand& operand : kernel_case.operands) {
    const Part made = make_operand(context, operand, RandomStream(parts.size() + 1, "operand"), precision, offset);
    wholes.push_back(made.whole);
    parts.push_back(made.part);
  }
  kernel_case.run(context, parts);
  for (size_t i = 0; i < wholes.size(); ++i) {
    results.push_back(part_of(context.to_host(wholes[i]), kernel_case.operands[i], offset));
  }
  return results;
}

Context make_reference_context() {
  auto kernels = std::make_shared<KernelSet>("reference");
  add_reference_kernels(*kernels);
  Context::Options options;
  options.compute_dtype = DType::kFloat64;
  options.kernels = kernels;
  return Context(options);
}

Context make_cpu_context(DType dtype, CpuLevel level, int num_threads) {
  return make_cpu_context(dtype, level, num_threads, last_level_cache_bytes());
}

Context make_cpu_context(DType dtype, CpuLevel level, int num_threads, size_t cache_bytes) {
  auto kernels = std::make_shared<KernelSet>("cpu");
  add_cpu_kernels(*kernels, level, cache_bytes);
  Context::Options options;
  options.compute_dtype = dtype;
  options.num_threads = num_threads;
  options.kernels = kernels;
  return Context(options);
}

std::string parameter_name(const testing::TestParamInfo<DTypeAndLevel>& info) {
  const auto [dtype, level] = info.param;
  return fmt::format("{}_{}", name(dtype), name(level));
}

std::vector<double> values(const Tensor& tensor) {
  std::vector<double> all(static_cast<size_t>(tensor.num_elements()));
  for_each_element(tensor, [&](const void* element, int64_t i) {
    all[static_cast<size_t>(i)] = read(tensor.dtype(), element);
  });
  return all;
}

std::string bytes(const Tensor& tensor) {
  std::string all;
  for_each_element(tensor, [&](const void* element, int64_t) {
    all.append(static_cast<const char*>(element), size_bytes(tensor.dtype()));
  });
  return all;
}

std::string difference(const Tensor& got, const Tensor& want, double tolerance) {
  const std::vector<double> g = values(got), w = values(want);
  if (g.size() != w.size()) return fmt::format("{} elements, not {}", g.size(), w.size());
  double squares = 0;
  for (const double value : w) squares += value * value;
  const double rms = w.empty() ? 0 : std::sqrt(squares / static_cast<double>(w.size()));
  for (size_t i = 0; i < g.size(); ++i) {
    const double allowed = tolerance * std::abs(w[i]) + 2e-6 * rms;
    if (!(std::abs(g[i] - w[i]) <= allowed)) return fmt::format("element {} is {}, not {}", i, g[i], w[i]);
  }
  return {};
}

void expect_close(const Tensor& got, const Tensor& want, double tolerance, const std::string& what) {
  EXPECT_EQ(difference(got, want, tolerance), "") << what;
}

double tolerance(DType dtype) {
  return dtype == DType::kBFloat16 ? 0x1p-8 + 4e-6 : 1e-6;
}

void expect_progress_in_products(DType dtype, CpuLevel level, int num_threads) {
  const Context plain = make_cpu_context(dtype, level, num_threads);
  Context hooked = make_cpu_context(dtype, level, num_threads);
  int calls = 0;
  const Context::ProgressGuard hook(hooked, [&] { ++calls; });
  const auto filled = [&](const Shape& shape, DType of) {
    const Tensor t = plain.empty(shape, of);
    for (int64_t i = 0; i < t.num_elements(); ++i) {
      const float x = static_cast<float>(i * 7919 % 1009) / 1009 - 0.5f;
      if (of == DType::kFloat32) t.data<float>()[i] = x;
      else t.data<bfloat16>()[i] = bfloat16(x);
    }
    return t;
  };
  for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{2100, 48, 33}, {2500, 16, 700}, {48, 2500, 129}}) {
    for (const Transpose ta : {Transpose::kNo, Transpose::kYes}) {
      for (const bool packs : {false, true}) {
        const Tensor a = filled(ta == Transpose::kYes ? Shape{k, m} : Shape{m, k}, dtype), b = filled({n, k}, dtype);
        const auto& algebra = plain.kernels<LinearAlgebra>();
        GemmOptions options = {.a = ta, .b = Transpose::kYes, .write = Write::kAccumulate};
        if (packs) options.packed_b = algebra.pack(plain, Transpose::kYes, b);
        const Tensor want = filled({m, n}, accumulator(dtype)), got = filled({m, n}, accumulator(dtype));
        algebra.gemm(plain, options, a, b, want);
        calls = 0;
        hooked.kernels<LinearAlgebra>().gemm(hooked, options, a, b, got);
        ASSERT_TRUE(bytes(got) == bytes(want)) << m << " x " << n << " x " << k;
        EXPECT_GE(calls, m > n && ta == Transpose::kNo ? 2 : 1) << m << " x " << n << " x " << k;
      }
    }
  }
}

}  // namespace longspan::test
