# As core/kernels/cuda/sources.cmake.
foreach(kernel matrix_backward matrix_forward plain state)
  list(APPEND cuda_attention_kernels ${CMAKE_CURRENT_LIST_DIR}/${kernel}.cu)
endforeach()
set(cuda_attention_families ${CMAKE_CURRENT_LIST_DIR}/block_attention.cc)
