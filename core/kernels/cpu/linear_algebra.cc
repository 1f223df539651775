#include "core/kernels/backends.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/onednn.h"

namespace longspan::cpu {

namespace {

// Of the products done in pieces: bounds the float32 copies of bfloat16 operands.
constexpr int64_t kTileRows = 1024, kTileColumns = 2048, kTileDepth = 2048;

// Of products with a transposed a, such as the gradients of weights: what oneDNN copies of both has to stay in cache. 2736
// columns of 1024 rows run at 0.75 of what they do in such strips.
constexpr int64_t kStripColumns = 1024;

// Rows of C between two calls of context.progress(): MPI moves bytes only inside its calls. Fewer make products slower.
// How oneDNN multiplies bfloat16 by rows of a does not depend on their number, so that strips there are cut only where somebody
// waits for progress. On several threads the order of float32's sums does, and those are always cut.
constexpr int64_t kNativeStripRows = 512, kFloatStripRows = 1024;

// body(first, count) for each strip of rows, of `least` to less than twice as many where there are as many; progress after each.
template <class Body>
void for_strips(const Context& context, int64_t rows, int64_t least, Body body) {
  for (int64_t first = 0; first < rows;) {
    const int64_t count = rows - first < 2 * least ? rows - first : least;
    body(first, count);
    context.progress();
    first += count;
  }
}

// A tile of op(matrix), as stored: op's rows and columns are ranges.
Tensor tile(const Tensor& matrix, Transpose transpose, int64_t row, int64_t rows, int64_t column,
            int64_t columns) {
  if (transpose == Transpose::kYes) return tile(matrix, Transpose::kNo, column, columns, row, rows);
  return matrix.slice(0, row, row + rows).slice(1, column, column + columns);
}

bool multiplies_bfloat16(CpuLevel level) { return level >= CpuLevel::kAvx512Bf16 && has_native_bfloat16(); }

class CpuLinearAlgebra final : public LinearAlgebra {
 public:
  explicit CpuLinearAlgebra(CpuLevel level)
      : loops_(vector_loops<bfloat16>(level)),
        native_bfloat16_(multiplies_bfloat16(level)) {}

 private:
  void do_gemm(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
               const Tensor& c) const override {
    expect_supported(a.dtype(), {DType::kFloat32, DType::kBFloat16}, "cpu", kName);
    const int64_t depth = a.size(options.a == Transpose::kYes ? 0 : 1);
    if (depth == 0) {
      clear(c);
    } else if (a.dtype() == DType::kFloat32) {
      multiply(context, options, a, b, c);
    } else if (native_bfloat16_) {
      multiply_natively(context, options, a, b, c);
    } else {
      multiply_in_tiles(context, options, a, b, c);
    }
  }

  void multiply_natively(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
                         const Tensor& c) const {
    const int64_t n = c.size(1);
    if (options.a == Transpose::kNo) {
      const int64_t least = context.wants_progress() ? kNativeStripRows : c.size(0);
      for_strips(context, c.size(0), least, [&](int64_t first, int64_t count) {
        const Tensor a_strip = a.slice(0, first, first + count), c_strip = c.slice(0, first, first + count);
        matmuls_.run(context, describe(options, a_strip, b, c_strip), a_strip, b, c_strip, options.packed_b);
      });
      return;
    }
    if (options.packed_b.defined()) {
      matmuls_.run(context, describe(options, a, b, c), a, b, c, options.packed_b);
      context.progress();
      return;
    }
    for (int64_t j = 0; j < n; j += kStripColumns) {
      const int64_t columns = std::min(kStripColumns, n - j);
      const Tensor b_strip = tile(b, options.b, 0, b.size(options.b == Transpose::kYes ? 1 : 0), j, columns);
      const Tensor c_strip = c.slice(1, j, j + columns);
      matmuls_.run(context, describe(options, a, b_strip, c_strip), a, b_strip, c_strip, {});
      context.progress();
    }
  }

  Tensor do_pack(const Context& context, Transpose transpose, const Tensor& b, const Tensor& reused) const override {
    expect_supported(b.dtype(), {DType::kFloat32, DType::kBFloat16}, "cpu", kName);
    if (b.dtype() == DType::kFloat32 || !native_bfloat16_) return {};
    return matmuls_.pack(context, transpose, b, row_distance(b), reused);
  }

  static Product describe(const GemmOptions& options, const Tensor& a, const Tensor& b, const Tensor& c) {
    return {.m = c.size(0),
            .n = c.size(1),
            .k = a.size(options.a == Transpose::kYes ? 0 : 1),
            .lda = row_distance(a),
            .ldb = row_distance(b),
            .ldc = row_distance(c),
            .a = options.a,
            .b = options.b,
            .write = options.write};
  }

  static void clear(const Tensor& c) {
    const size_t row_bytes = static_cast<size_t>(c.size(1)) * size_bytes(c.dtype());
    for (int64_t i = 0; i < c.size(0); ++i) {
      std::fill_n(static_cast<uint8_t*>(c.slice(0, i, i + 1).raw()), row_bytes, uint8_t{0});
    }
  }

  static void multiply(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
                       const Tensor& c) {
    for_strips(context, c.size(0), kFloatStripRows, [&](int64_t first, int64_t count) {
      const Tensor a_strip = a.slice(options.a == Transpose::kYes ? 1 : 0, first, first + count);
      const Tensor c_strip = c.slice(0, first, first + count);
      sgemm(describe(options, a_strip, b, c_strip), context.num_threads(), static_cast<const float*>(a_strip.raw()),
            static_cast<const float*>(b.raw()), static_cast<float*>(c_strip.raw()));
    });
  }

  // bfloat16 through float32 copies, for processors without such products.
  void multiply_in_tiles(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
                         const Tensor& c) const {
    for (int64_t i = 0; i < c.size(0); i += kTileRows) {
      const int64_t rows = std::min(kTileRows, c.size(0) - i);
      for (int64_t j = 0; j < c.size(1); j += kTileColumns) {
        const int64_t columns = std::min(kTileColumns, c.size(1) - j);
        const Tensor a_rows = tile(a, options.a, i, rows, 0, a.size(options.a == Transpose::kYes ? 0 : 1));
        const Tensor b_columns =
            tile(b, options.b, 0, b.size(options.b == Transpose::kYes ? 1 : 0), j, columns);
        multiply_tile(context, options, a_rows, b_columns, tile(c, Transpose::kNo, i, rows, j, columns));
      }
    }
  }

  void multiply_tile(const Context& context, const GemmOptions& options, const Tensor& a, const Tensor& b,
                     const Tensor& c) const {
    GemmOptions part = options;
    const bool rounded = c.dtype() == DType::kBFloat16;
    const Tensor sum = !rounded ? c
                       : options.write == Write::kAccumulate
                           ? widened(context, c)
                           : context.empty(c.shape(), DType::kFloat32, MemoryTag::kWorkspace);
    const int64_t depth = a.size(options.a == Transpose::kYes ? 0 : 1);
    for (int64_t k = 0; k < depth; k += kTileDepth) {
      const int64_t size = std::min(kTileDepth, depth - k);
      multiply(context, part, widened(context, tile(a, options.a, 0, c.size(0), k, size)),
               widened(context, tile(b, options.b, k, size, 0, c.size(1))), sum);
      part.write = Write::kAccumulate;
    }
    if (!rounded) return;
    const float* from = sum.data<float>();
    const auto to = c.view<bfloat16, 2>();
    for_rows(context, c.size(0), c.size(1), [&](int64_t begin, int64_t count) {
      for (int64_t r = begin; r < begin + count; ++r) {
        loops_.store(to.size(1), from + r * to.size(1), to.data + r * to.stride(0), Stores::kCached);
      }
    });
  }

  Tensor widened(const Context& context, const Tensor& matrix) const {
    const Tensor copy = context.empty(matrix.shape(), DType::kFloat32, MemoryTag::kWorkspace);
    float* to = copy.data<float>();
    const auto from = matrix.view<bfloat16, 2>();
    for_rows(context, from.size(0), from.size(1), [&](int64_t begin, int64_t count) {
      for (int64_t r = begin; r < begin + count; ++r) {
        loops_.load(from.size(1), from.data + r * from.stride(0), to + r * from.size(1), Stores::kCached);
      }
    });
    return copy;
  }

  const VectorLoops<bfloat16>& loops_;
  bool native_bfloat16_;
  mutable MatmulCache matmuls_;  // locks itself
};

}  // namespace

std::shared_ptr<const LinearAlgebra> make_linear_algebra(CpuLevel level) {
  return std::make_shared<CpuLinearAlgebra>(level);
}

}  // namespace longspan::cpu

namespace longspan {

bool cpu_packs(DType dtype, CpuLevel level) { return dtype == DType::kBFloat16 && cpu::multiplies_bfloat16(level); }

}  // namespace longspan
