#include "core/kernels/cuda/linear_algebra.h"

#include <map>
#include <mutex>

#include "core/kernels/cuda/choices.h"
#include "core/kernels/cuda/cublas_lt.h"
#include "core/kernels/cuda/cuda.h"
#include "core/kernels/cuda/ptx/success.h"

namespace longspan::LS_CUDA {

namespace {

// Below, a product takes some microseconds, and which way is taken hardly shows.
constexpr double kLeastTimedMultiplications = 1 << 30;

// Room for the output of products that are only timed. Of finite numbers, as they are those of real ones.
Tensor timing_output(const Context& context, const ColumnProduct& product) {
  const ColumnMatrix& output = product.output;
  const Tensor scratch =
      context.empty({(output.columns - 1) * output.ld + output.rows}, output.dtype, MemoryTag::kWorkspace);
  expect_success(cudaMemsetAsync(scratch.raw(), 0, scratch.num_bytes(), context.stream().native()), "clearing a workspace");
  return scratch;
}

// What is known of one GPU.
struct DeviceProducts {
  CublasLt library;
  Choices<ColumnProduct, CublasLt::Way> ways;
};

class CudaLinearAlgebra final : public LinearAlgebra {
  void do_gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
               const Tensor& c) const override {
    expect_cuda_dtype<LinearAlgebra>(a.dtype());
    const ColumnProduct product = describe_product(options, a, b, c);
    if (product.depth() == 0) {
      clear(context, c);
      return;
    }
    DeviceProducts& device = products_of_current_device();
    const CublasLt::Operation operation(product);
    const CublasLt::Operands operands = {b.raw(), a.raw(), c.raw()};
    const auto find = [&] { return device.library.find(operation); };
    const auto time = [&](const CublasLt::Way& way) { return time_way(context, device.library, operation, operands, way); };
    const auto way = device.ways.choose(product, product.multiplications() >= kLeastTimedMultiplications, find, time);
    device.library.run(context, operation, operands, way);
  }

  static double time_way(const Context& context, const CublasLt& library, const CublasLt::Operation& operation,
                         CublasLt::Operands operands, const CublasLt::Way& way) {
    try {
      const bool accumulates = operation.product().write == Write::kAccumulate;
      const Tensor scratch = accumulates ? timing_output(context, operation.product()) : Tensor();
      if (accumulates) operands.output = scratch.raw();
      return library.time(context, operation, operands, way);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kResource) return std::numeric_limits<double>::infinity();
      throw;
    }
  }

  Tensor do_pack(const Context&, Transpose, const Tensor& b, const Tensor&) const override {
    expect_cuda_dtype<LinearAlgebra>(b.dtype());
    return {};
  }

  static void clear(const Context& context, const Tensor& c) {
    const size_t element = size_bytes(c.dtype());
    expect_success(cudaMemset2DAsync(c.raw(), static_cast<size_t>(row_distance(c)) * element, 0,
                                     static_cast<size_t>(c.size(1)) * element, static_cast<size_t>(c.size(0)),
                                     context.stream().native()),
                   "zeros of an empty product");
  }

  DeviceProducts& products_of_current_device() const {
    int ordinal = 0;
    expect_success(cudaGetDevice(&ordinal), "the current GPU");
    std::lock_guard lock(mutex_);
    auto& device = devices_[ordinal];
    if (!device) device = std::make_unique<DeviceProducts>();
    return *device;
  }

  mutable std::mutex mutex_;
  mutable std::map<int, std::unique_ptr<DeviceProducts>> devices_;
};

}  // namespace

std::shared_ptr<const LinearAlgebra> make_linear_algebra() { return std::make_shared<CudaLinearAlgebra>(); }

}  // namespace longspan::LS_CUDA
