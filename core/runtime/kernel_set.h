// KernelSet: the kernel families one backend has, found by their interface type.
//
// A family is a small abstract interface (core/kernels/*.h, attention/kernels/*.h) that a backend implements whole.
// Families are keyed by type, so that rooms that must not see each other can put theirs into the same set.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <typeindex>

#include "core/base/error.h"
#include "core/tensor/dtype.h"

namespace longspan {

class KernelSet {
 public:
  explicit KernelSet(std::string backend) : backend_(std::move(backend)) {}
  const std::string& backend() const { return backend_; }

  template <class Family>
  void add(std::shared_ptr<const Family> family) {
    families_[typeid(Family)] = std::move(family);
  }

  // Raises unless the backend has this family; `Family::kName` names it.
  template <class Family>
  const Family& get() const {
    const auto it = families_.find(typeid(Family));
    check(it != families_.end(), "backend {} has no kernels of family '{}'", backend_, Family::kName);
    return *static_cast<const Family*>(it->second.get());
  }

 private:
  std::string backend_;
  std::map<std::type_index, std::shared_ptr<const void>> families_;
};

// How a backend refuses a dtype: raises Error(kConfiguration), naming dtype, backend and family, unless it is supported.
void expect_supported(DType dtype, std::initializer_list<DType> supported, const char* backend, const char* family);

}  // namespace longspan
