// Tensor maps for tests of the copy unit: bfloat16 tensors.
#pragma once

#include <initializer_list>
#include <stdexcept>
#include <vector>

#include "core/base/bfloat16.h"
#include "core/kernels/cuda/ptx/bulk_copy.h"

#if defined(__CUDACC__)
#include <cudaTypedefs.h>

#include "core/kernels/cuda/ptx/launch.h"
#endif

namespace longspan::test {

// dims innermost first; strides_bytes of the others. Raises where the map is refused.
inline LS_CUDA::TensorMap make_tensor_map(const bfloat16* base, const std::vector<uint64_t>& dims,
                                          const std::vector<uint64_t>& strides_bytes, const uint32_t* box,
                                          LS_CUDA::Swizzle swizzle) {
  LS_CUDA::TensorMap map;
  void* address = const_cast<bfloat16*>(base);
  const int rank = static_cast<int>(dims.size());
#if defined(__CUDACC__)
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found;
  LS_CUDA::expect_success(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found),
                       "cuTensorMapEncodeTiled");
  const uint32_t steps[] = {1, 1, 1, 1, 1};
  const CUtensorMapSwizzle swizzles[] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B, CU_TENSOR_MAP_SWIZZLE_64B,
                                         CU_TENSOR_MAP_SWIZZLE_128B};
  const bool encoded =
      reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(entry)(
          &map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<uint32_t>(rank), address,
          reinterpret_cast<const cuuint64_t*>(dims.data()), reinterpret_cast<const cuuint64_t*>(strides_bytes.data()), box, steps,
          CU_TENSOR_MAP_INTERLEAVE_NONE, swizzles[static_cast<int>(swizzle)], CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
          CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
#else
  const bool encoded = simt::encode_tensor_map(map, 2, rank, address, dims.data(), strides_bytes.data(), box,
                                               static_cast<simt::SwizzleBytes>(swizzle));
#endif
  if (!encoded) throw std::runtime_error("the tensor map is refused");
  return map;
}

}  // namespace longspan::test
