#include "core/kernels/cpu/onednn.h"

#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

namespace longspan::cpu {

namespace {

// A run meets few shapes; whoever makes up a new one for every call must not fill the memory.
constexpr size_t kMostMatmuls = 512;
// For products of this many rows a matrix is packed. The order hardly depends on it; where it does, b is read as it is.
constexpr int64_t kPackedRows = 1024;

dnnl::matmul::primitive_desc describe(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                      const dnnl::memory::desc& a, const dnnl::memory::desc& b,
                                      const dnnl::memory::desc& c) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(engine, a, b, c, attributes);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, engine);
#endif
}

dnnl::memory::desc matrix(int64_t rows, int64_t columns, int64_t ld, Transpose transpose, DType dtype) {
  const auto type = dtype == DType::kBFloat16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
  const dnnl::memory::dims strides =
      transpose == Transpose::kYes ? dnnl::memory::dims{1, ld} : dnnl::memory::dims{ld, 1};
  return dnnl::memory::desc({rows, columns}, type, strides);
}

dnnl::memory::desc in_any_order(int64_t rows, int64_t columns) {
  return dnnl::memory::desc({rows, columns}, dnnl::memory::data_type::bf16, dnnl::memory::format_tag::any);
}

// The order of a [k, n] matrix that products of bfloat16 like best; it is one for all outputs.
dnnl::memory::desc packed_order(const dnnl::engine& engine, int64_t k, int64_t n) {
  const auto a = matrix(kPackedRows, k, k, Transpose::kNo, DType::kBFloat16);
  const auto c = matrix(kPackedRows, n, n, Transpose::kNo, DType::kBFloat16);
  return describe(engine, {}, a, in_any_order(k, n), c).weights_desc();
}

}  // namespace

void sgemm(const Product& p, int num_threads, const float* a, const float* b, float* c) {
  omp_set_num_threads(num_threads);
  const dnnl_status_t status =
      dnnl_sgemm(p.a == Transpose::kYes ? 'T' : 'N', p.b == Transpose::kYes ? 'T' : 'N', p.m, p.n, p.k, 1.0f,
                 a, p.lda, b, p.ldb, p.write == Write::kAccumulate ? 1.0f : 0.0f, c, p.ldc);
  check(status == dnnl_success, "oneDNN refused a float32 product [{}, {}] x [{}, {}] with status {}", p.m,
        p.k, p.k, p.n, static_cast<int>(status));
}

bool has_native_bfloat16() {
  // an instruction set's bits contain those of the sets it extends
  const auto have = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto need = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (have & need) == need;
}

struct MatmulCache::Library {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
};

struct MatmulCache::Matmul {
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;
  bool reads_packed = false;  // wants b in the order of pack()
};

MatmulCache::MatmulCache() : library_(std::make_unique<Library>()) {}
MatmulCache::~MatmulCache() = default;

std::shared_ptr<const MatmulCache::Matmul> MatmulCache::find_or_build(const Key& key) {
  std::lock_guard lock(mutex_);
  if (const auto it = matmuls_.find(key); it != matmuls_.end()) return it->second;
  const Product& p = key.product;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);  // from the context, so that it is counted
  if (p.write == Write::kAccumulate) {
    dnnl::post_ops operations;
    operations.append_sum(1.0f);
    attributes.set_post_ops(operations);
  }
  const auto b = key.b == Operand::kPacked ? in_any_order(p.k, p.n) : matrix(p.k, p.n, p.ldb, p.b, DType::kBFloat16);
  const auto description =
      describe(library_->engine, attributes, matrix(p.m, p.k, p.lda, p.a, DType::kBFloat16), b,
               matrix(p.m, p.n, p.ldc, Transpose::kNo, key.output));
  auto matmul = std::make_shared<const Matmul>(Matmul{
      .description = description,
      .primitive = dnnl::matmul(description),
      .reads_packed =
          key.b == Operand::kPacked && description.weights_desc() == packed_order(library_->engine, p.k, p.n)});
  if (matmuls_.size() >= kMostMatmuls) matmuls_.clear();
  matmuls_.emplace(key, matmul);
  return matmul;
}

// The product that reads `packed_b`; null where there is none, or where this product wants another order.
std::shared_ptr<const MatmulCache::Matmul> MatmulCache::find_packed(Key key, const Tensor& packed_b) {
  if (!packed_b.defined()) return nullptr;
  Product& p = key.product;
  p.b = Transpose::kNo;
  p.ldb = 0;
  key.b = Operand::kPacked;
  const auto matmul = find_or_build(key);
  return matmul->reads_packed ? matmul : nullptr;
}

Tensor MatmulCache::pack(const Context& context, Transpose transpose, const Tensor& b, int64_t ldb, const Tensor& reused) {
  const int64_t k = b.size(transpose == Transpose::kYes ? 1 : 0), n = b.size(transpose == Transpose::kYes ? 0 : 1);
  omp_set_num_threads(context.num_threads());
  try {
    const dnnl::memory::desc from = matrix(k, n, ldb, transpose, DType::kBFloat16);
    const dnnl::memory::desc to = packed_order(library_->engine, k, n);
    if (to == from || to == matrix(k, n, n, Transpose::kNo, DType::kBFloat16)) return {};
    const auto num_bytes = static_cast<int64_t>(to.get_size());
    Tensor packed = reused.defined() ? reused : context.empty({num_bytes}, DType::kUInt8, MemoryTag::kWeights);
    expect_shape(packed, {num_bytes}, "the packed matrix to reuse");
    dnnl::memory source(from, library_->engine, b.raw());
    dnnl::memory destination(to, library_->engine, packed.raw());
    dnnl::stream stream(library_->engine);
    dnnl::reorder(source, destination).execute(stream, source, destination);
    stream.wait();
    return packed;
  } catch (const dnnl::error& e) {
    raise(ErrorKind::kInternal, "oneDNN refused to pack a matrix [{}, {}]: {}", k, n, e.what());
  }
}

void MatmulCache::run(const Context& context, const Product& product, const Tensor& a, const Tensor& b,
                      const Tensor& c, const Tensor& packed_b) {
  omp_set_num_threads(context.num_threads());
  try {
    const Key key = {product, c.dtype(), context.num_threads()};
    auto matmul = find_packed(key, packed_b);
    const Tensor& weights = matmul ? packed_b : b;
    if (!matmul) matmul = find_or_build(key);
    const dnnl::matmul::primitive_desc& description = matmul->description;
    const auto scratch_bytes = static_cast<int64_t>(description.scratchpad_desc().get_size());
    const Tensor scratch = context.empty({scratch_bytes}, DType::kUInt8, MemoryTag::kWorkspace);
    dnnl::stream stream(library_->engine);
    const auto memory = [&](const dnnl::memory::desc& desc, const Tensor& t) {
      return dnnl::memory(desc, library_->engine, t.raw());
    };
    matmul->primitive.execute(stream,
                              {{DNNL_ARG_SRC, memory(description.src_desc(), a)},
                               {DNNL_ARG_WEIGHTS, memory(description.weights_desc(), weights)},
                               {DNNL_ARG_DST, memory(description.dst_desc(), c)},
                               {DNNL_ARG_SCRATCHPAD, memory(description.scratchpad_desc(), scratch)}});
    stream.wait();
  } catch (const dnnl::error& e) {
    raise(ErrorKind::kInternal, "oneDNN refused a bfloat16 product [{}, {}] x [{}, {}]: {}", product.m,
          product.k, product.k, product.n, e.what());
  }
}

}  // namespace longspan::cpu
