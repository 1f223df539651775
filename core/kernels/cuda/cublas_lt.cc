#include "core/kernels/cuda/cublas_lt.h"

#include <limits>
#include <utility>

#include "core/kernels/cuda/ptx/success.h"

namespace longspan::LS_CUDA {

namespace {

constexpr int kMostWays = 8;
constexpr int kTimedRuns = 3;  // after one that is not timed

void expect_status(cublasStatus_t status, const char* what) {
  check(status == CUBLAS_STATUS_SUCCESS, "cuBLASLt: {}: {}", what, cublasLtGetStatusString(status));
}

cudaDataType_t type_of(DType dtype) { return dtype == DType::kBFloat16 ? CUDA_R_16BF : CUDA_R_32F; }

cublasOperation_t operation_of(Transpose transpose) { return transpose == Transpose::kYes ? CUBLAS_OP_T : CUBLAS_OP_N; }

void describe(const ColumnMatrix& matrix, cublasLtMatrixLayout_t layout) {
  expect_status(cublasLtMatrixLayoutInit(layout, type_of(matrix.dtype), static_cast<uint64_t>(matrix.rows),
                                         static_cast<uint64_t>(matrix.columns), matrix.ld),
                "description of a matrix");
}

class Timer {
 public:
  explicit Timer(cudaStream_t stream) : stream_(stream) {
    expect_success(cudaEventCreate(&begin_), "an event");
    expect_success(cudaEventCreate(&end_), "an event");
  }
  ~Timer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void begin() { expect_success(cudaEventRecord(begin_, stream_), "an event"); }
  double end() {
    float milliseconds = 0;
    expect_success(cudaEventRecord(end_, stream_), "an event");
    expect_success(cudaEventSynchronize(end_), "a product that is timed, or work before it");
    expect_success(cudaEventElapsedTime(&milliseconds, begin_, end_), "time between events");
    return milliseconds * 1e-3;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

Tensor workspace_of(const Context& context, const CublasLt::Way& way) {
  if (way.workspace_bytes == 0) return {};
  return context.empty({static_cast<int64_t>(way.workspace_bytes)}, DType::kUInt8, MemoryTag::kWorkspace);
}

}  // namespace

CublasLt::Operation::Operation(const ColumnProduct& product) : product_(product) {
  Descriptions& d = descriptions_;
  // Not CUBLAS_COMPUTE_32F_FAST_TF32, which would round float32 operands to 10 bits.
  expect_status(cublasLtMatmulDescInit(&d.product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description of a product");
  for (const auto& [attribute, transpose] : {std::pair(CUBLASLT_MATMUL_DESC_TRANSA, product.left_transpose),
                                             std::pair(CUBLASLT_MATMUL_DESC_TRANSB, product.right_transpose)}) {
    const cublasOperation_t operation = operation_of(transpose);
    expect_status(cublasLtMatmulDescSetAttribute(&d.product, attribute, &operation, sizeof operation), "transposition");
  }
  describe(product.left, &d.left);
  describe(product.right, &d.right);
  describe(product.output, &d.output);
}

CublasLt::CublasLt() {
  int device = 0, generation = 0;
  expect_success(cudaGetDevice(&device), "the current GPU");
  expect_success(cudaDeviceGetAttribute(&generation, cudaDevAttrComputeCapabilityMajor, device), "the kind of GPU");
  constexpr int kHopper = 9;
  most_workspace_bytes_ = (generation >= kHopper ? uint64_t{32} : uint64_t{4}) << 20;
  expect_status(cublasLtCreate(&handle_), "start of the library");
}

CublasLt::~CublasLt() { cublasLtDestroy(handle_); }

std::vector<CublasLt::Way> CublasLt::find(const Operation& operation) const {
  cublasLtMatmulPreferenceOpaque_t preference;
  expect_status(cublasLtMatmulPreferenceInit(&preference), "preferences");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    expect_status(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value), "a preference");
  };
  const ColumnProduct& product = operation.product();
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, most_workspace_bytes_);
  // Undivided sums, or parts that another kernel adds up in float32.
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, product.left.alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, product.right.alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, product.output.alignment);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, product.output.alignment);
  cublasLtMatmulHeuristicResult_t results[kMostWays];
  int num_results = 0;
  auto& d = operation.descriptions_;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle_, &d.product, &d.left, &d.right, &d.output, &d.output,
                                                               &preference, kMostWays, results, &num_results);
  std::vector<Way> ways;
  for (int i = 0; i < num_results; ++i) {
    if (results[i].state == CUBLAS_STATUS_SUCCESS) ways.push_back({results[i].algo, results[i].workspaceSize});
  }
  check(status == CUBLAS_STATUS_SUCCESS && !ways.empty(), "cuBLASLt has no way to multiply {} [{}, {}] by [{}, {}]: {}",
        name(product.left.dtype), product.output.columns, product.depth(), product.depth(), product.output.rows,
        cublasLtGetStatusString(status));
  return ways;
}

cublasStatus_t CublasLt::enqueue(const Context& context, const Operation& operation, const Operands& operands, const Way& way,
                                 void* workspace) const {
  auto& d = operation.descriptions_;
  const float alpha = 1, beta = operation.product().write == Write::kAccumulate ? 1 : 0;
  return cublasLtMatmul(handle_, &d.product, &alpha, operands.left, &d.left, operands.right, &d.right, &beta, operands.output,
                        &d.output, operands.output, &d.output, &way.algorithm, workspace, way.workspace_bytes,
                        context.stream().native());
}

void CublasLt::run(const Context& context, const Operation& operation, const Operands& operands, const Way& way) const {
  const Tensor workspace = workspace_of(context, way);
  expect_status(enqueue(context, operation, operands, way, workspace.defined() ? workspace.raw() : nullptr), "a product");
}

double CublasLt::time(const Context& context, const Operation& operation, const Operands& operands, const Way& way) const {
  const Tensor workspace = workspace_of(context, way);
  void* const scratch = workspace.defined() ? workspace.raw() : nullptr;
  Timer timer(context.stream().native());
  for (int i = 0; i <= kTimedRuns; ++i) {
    if (i == 1) timer.begin();
    if (enqueue(context, operation, operands, way, scratch) != CUBLAS_STATUS_SUCCESS) {
      return std::numeric_limits<double>::infinity();
    }
  }
  return timer.end() / kTimedRuns;
}

}  // namespace longspan::LS_CUDA
