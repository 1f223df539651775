// What Longspan uses of oneDNN: products of row-major host matrices. The only files that include oneDNN's
// headers are this one's sources; 2.6 and 3.x differ in the API of dnnl::matmul.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

#include "core/kernels/linear_algebra.h"

namespace longspan::cpu {

// op(a) [m, k] times op(b) [k, n] into c [m, n]; ld is the distance of rows as stored.
struct Product {
  int64_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, ldc = 0;
  Transpose a = Transpose::kNo, b = Transpose::kNo;
  Write write = Write::kAssign;
  auto operator<=>(const Product&) const = default;
};

// float32, on exactly `num_threads` threads, the calling one included.
void sgemm(const Product& product, int num_threads, const float* a, const float* b, float* c);

// Whether the processor multiplies bfloat16 itself (AVX512_BF16, AMX).
bool has_native_bfloat16();

// bfloat16 times bfloat16 into float32 or bfloat16 by the processor's own instructions. Building a primitive
// takes far longer than running a small one, so they are kept by shape. Safe to call from several threads.
class MatmulCache {
 public:
  MatmulCache();
  ~MatmulCache();
  // `packed_b` may be absent, or what pack() gave for this op(b).
  void run(const Context& context, const Product& product, const Tensor& a, const Tensor& b, const Tensor& c,
           const Tensor& packed_b);
  // As LinearAlgebra::pack; the rows of b are ldb apart.
  Tensor pack(const Context& context, Transpose transpose, const Tensor& b, int64_t ldb, const Tensor& reused);

 private:
  enum class Operand { kPlain, kPacked };
  struct Key {
    Product product;
    DType output = DType::kFloat32;
    int num_threads = 1;  // a primitive divides its work when it is built
    Operand b = Operand::kPlain;
    auto operator<=>(const Key&) const = default;
  };
  struct Library;
  struct Matmul;
  std::shared_ptr<const Matmul> find_or_build(const Key& key);
  std::shared_ptr<const Matmul> find_packed(Key key, const Tensor& packed_b);

  std::unique_ptr<Library> library_;
  std::mutex mutex_;
  std::map<Key, std::shared_ptr<const Matmul>> matmuls_;
};

}  // namespace longspan::cpu
