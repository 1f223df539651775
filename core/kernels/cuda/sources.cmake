# Kernels, which nvcc compiles for GPUs, and tests compile as C++ for the emulator; and the families that launch them.
set(cuda_kernels ${CMAKE_CURRENT_LIST_DIR}/activation.cu)
set(cuda_families ${CMAKE_CURRENT_LIST_DIR}/activation.cc ${CMAKE_CURRENT_LIST_DIR}/backend.cc)
