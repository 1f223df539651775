// What every backend must be able to do, as a table: each case is one call of a kernel family on operands
// that are described and not yet made, so that the same call runs on any backend, dtype and number of
// threads.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/cpu_level.h"
#include "core/runtime/context.h"

namespace longspan::test {

enum class Kind {
  kCompute,      // in the dtype that computes
  kAccumulator,  // in its accumulator
  kTokens,       // int32 in [0, bound)
  kTargets,      // int32 in [0, bound), and now and then none
};
enum class Fill {
  kNormal,
  kPositive,
  kNan,  // must be assigned; what is read or left shows
};

struct Operand {
  Shape shape;
  Kind kind = Kind::kCompute;
  Fill fill = Fill::kNormal;
  int64_t bound = 0;    // of tokens
  int64_t padding = 0;  // columns between the rows of a matrix
};

struct KernelCase {
  std::string family, name;
  std::vector<Operand> operands;
  std::function<void(const Context&, const std::vector<Tensor>&)> run;
};

// All families' calls on a [rows, n] problem.
std::vector<KernelCase> kernel_cases(int64_t rows, int64_t n);
// op(a) [m, k] times op(b) [k, n] in all transpositions, writes and outputs.
std::vector<KernelCase> gemm_cases(int64_t m, int64_t n, int64_t k);

// Of a tensor that the host can touch: one element, rounded to its dtype.
void write_element(DType dtype, void* to, double value);

// Makes the operands, in the context's dtype but of values that `precision` holds, and runs the case on them. The first
// element of each without padding lies `offset` elements beyond where memory is aligned. Returns them for the host to read.
std::vector<Tensor> run_case(const Context& context, const KernelCase& kernel_case, DType precision, int64_t offset = 0);

Context make_reference_context();
Context make_cpu_context(DType dtype, CpuLevel level, int num_threads);
// One to whose kernels the cache is of that size.
Context make_cpu_context(DType dtype, CpuLevel level, int num_threads, size_t cache_bytes);

// What the tests of both programs are repeated over, and its name there.
using DTypeAndLevel = std::tuple<DType, CpuLevel>;
std::string parameter_name(const testing::TestParamInfo<DTypeAndLevel>& info);

// The elements as double, whatever the dtype and layout.
std::vector<double> values(const Tensor& tensor);
std::string bytes(const Tensor& tensor);
// Empty where each element is the reference's, to `tolerance` of itself and 2e-6 of the rms; else the first that is not.
std::string difference(const Tensor& got, const Tensor& want, double tolerance);
// Raises a test failure where there is one.
void expect_close(const Tensor& got, const Tensor& want, double tolerance, const std::string& what);
// Products of many rows or columns call a progress hook while they run, and have the bits of those without one.
void expect_progress_in_products(DType dtype, CpuLevel level, int num_threads);
// Room for the rounding of the dtype and for fp32 sums.
double tolerance(DType dtype);

}  // namespace longspan::test
