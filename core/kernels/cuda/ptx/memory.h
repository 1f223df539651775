// Loads and stores. Shared memory is dynamic and addressed by 32-bit shared addresses; global memory only through these.
#pragma once

#include <cstring>

#include "core/kernels/cuda/ptx/device.h"

namespace longspan::LS_CUDA {

// N elements that are loaded and stored as one; sizes of 1, 2, 4, 8 and 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T elements[N];
  LS_DEVICE T& operator[](int i) { return elements[i]; }
  LS_DEVICE const T& operator[](int i) const { return elements[i]; }
};

template <class T>
LS_DEVICE T load_global(const T* from, LS_LINE) {
  LS_PTX(return *from;)
  LS_EMULATED(simt::begin_instruction("ld.global", line); simt::touch_global(from, sizeof(T), simt::Access::kRead);
              return *from;)
}
// Of what no kernel that runs at the same time writes.
template <class T>
LS_DEVICE T load_constant(const T* from, LS_LINE) {
  LS_PTX(return __ldg(from);)
  LS_EMULATED(return load_global(from, line);)
}
template <class T>
LS_DEVICE void store_global(T* to, const T& value, LS_LINE) {
  LS_PTX(*to = value;)
  LS_EMULATED(simt::begin_instruction("st.global", line); simt::touch_global(to, sizeof(T), simt::Access::kWrite);
              *to = value;)
}

// Where the block's shared memory starts, aligned to 1024 bytes.
LS_DEVICE uint32_t shared_base() {
  LS_PTX(extern __shared__ __align__(1024) uint8_t longspan_shared_memory[];
         return static_cast<uint32_t>(__cvta_generic_to_shared(longspan_shared_memory));)
  LS_EMULATED(return simt::kSharedBase;)
}
template <class T>
LS_DEVICE T load_shared(uint32_t address, LS_LINE) {
  LS_PTX(return *reinterpret_cast<const T*>(__cvta_shared_to_generic(address));)
  LS_EMULATED(simt::begin_instruction("ld.shared", line); T value;
              std::memcpy(&value, simt::shared_bytes(address, sizeof(T), simt::SharedUse::kRead), sizeof(T));
              return value;)
}
template <class T>
LS_DEVICE void store_shared(uint32_t address, const T& value, LS_LINE) {
  LS_PTX(*reinterpret_cast<T*>(__cvta_shared_to_generic(address)) = value;)
  LS_EMULATED(simt::begin_instruction("st.shared", line);
              std::memcpy(simt::shared_bytes(address, sizeof(T), simt::SharedUse::kWrite), &value, sizeof(T));)
}

}  // namespace longspan::LS_CUDA
