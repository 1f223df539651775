// What Longspan uses of cuBLASLt: the ways to make a product, and making it. Only this file's sources include its header.
#pragma once

#include <cublasLt.h>

#include <vector>

#include "core/kernels/cuda/product.h"
#include "core/runtime/context.h"

namespace longspan::LS_CUDA {

// The library on the GPU that is current when this is made; to be used while it is. Safe to call from several threads.
class CublasLt {
 public:
  struct Way {
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace_bytes;
  };
  struct Operands {
    const void *left, *right;
    void* output;
  };

  // A product as the library describes it.
  class Operation {
   public:
    explicit Operation(const ColumnProduct& product);
    const ColumnProduct& product() const { return product_; }

   private:
    friend class CublasLt;
    // The library's functions take descriptions as pointers to what they do not change.
    struct Descriptions {
      cublasLtMatmulDescOpaque_t product;
      cublasLtMatrixLayoutOpaque_t left, right, output;
    };
    ColumnProduct product_;
    mutable Descriptions descriptions_;
  };

  CublasLt();
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // Ways that give the same bits every time, the library's favourite first. Raises where there is none.
  std::vector<Way> find(const Operation& operation) const;
  // In the order of the context's stream.
  void run(const Context& context, const Operation& operation, const Operands& operands, const Way& way) const;
  // Seconds that one takes, on a stream that is waited for; infinity where the library refuses. The output is written.
  double time(const Context& context, const Operation& operation, const Operands& operands, const Way& way) const;

 private:
  cublasStatus_t enqueue(const Context& context, const Operation& operation, const Operands& operands, const Way& way,
                         void* workspace) const;

  cublasLtHandle_t handle_ = nullptr;
  uint64_t most_workspace_bytes_ = 0;
};

}  // namespace longspan::LS_CUDA
