# Kernels, which nvcc compiles for GPUs, and tests compile as C++ for the emulator; and the families that launch them.
foreach(family activation elementwise embedding loss normalization optimizer rotary)
  list(APPEND cuda_kernels ${CMAKE_CURRENT_LIST_DIR}/${family}.cu)
  list(APPEND cuda_families ${CMAKE_CURRENT_LIST_DIR}/${family}.cc)
endforeach()
list(APPEND cuda_families ${CMAKE_CURRENT_LIST_DIR}/backend.cc ${CMAKE_CURRENT_LIST_DIR}/product.cc)
