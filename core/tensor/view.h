// View: what a kernel receives: a typed pointer with sizes and strides, no ownership.
#pragma once

#include <array>
#include <cstdint>

namespace longspan {

template <class T, int Rank>
struct View {
  T* data = nullptr;
  std::array<int64_t, Rank> sizes{};
  std::array<int64_t, Rank> strides{};  // in elements

  int64_t size(int dim) const { return sizes[static_cast<size_t>(dim)]; }
  int64_t stride(int dim) const { return strides[static_cast<size_t>(dim)]; }

  template <class... Index>
  T& operator()(Index... index) const {
    static_assert(sizeof...(Index) == Rank);
    int64_t offset = 0;
    size_t dim = 0;
    ((offset += static_cast<int64_t>(index) * strides[dim++]), ...);
    return data[offset];
  }
};

}  // namespace longspan
