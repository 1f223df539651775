// Block attention in plain double loops: the oracle.
#include <cmath>
#include <limits>
#include <vector>

#include "attention/kernels/block_attention.h"

namespace longspan {

namespace {

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t d = 0; d < n; ++d) sum += a[d] * b[d];
  return sum;
}

class ReferenceAttention final : public BlockAttention {
 private:
  void do_forward(const Context&, const AttentionBlock& block, const AttentionState& state) const override {
    expect_supported(block.q.dtype(), {DType::kFloat64}, "reference", kName);
    const auto q = block.q.view<double, 3>(), k = block.k.view<double, 3>(), v = block.v.view<double, 3>();
    const auto output = state.output.view<double, 3>();
    const auto lse = state.lse.view<double, 2>();
    const int64_t group = q.size(1) / k.size(1), head_dim = q.size(2);
    std::vector<double> p;
    for (int64_t h = 0; h < q.size(1); ++h) {
      for (int64_t i = 0; i < q.size(0); ++i) {
        const int64_t begin = block.visible->begin()[static_cast<size_t>(i)];
        const int64_t end = block.visible->end()[static_cast<size_t>(i)];
        if (begin == end) continue;
        p.resize(static_cast<size_t>(end - begin));
        double top = lse(h, i);
        for (int64_t j = begin; j < end; ++j) {
          double& s = p[static_cast<size_t>(j - begin)];
          s = block.scale * dot(&q(i, h, 0), &k(j, h / group, 0), head_dim);
          top = std::max(top, s);
        }
        const double carried = std::exp(lse(h, i) - top);  // 0 from the empty state
        double sum = carried;
        for (double& s : p) sum += s = std::exp(s - top);
        for (int64_t d = 0; d < head_dim; ++d) {
          double o = carried * output(i, h, d);
          for (int64_t j = begin; j < end; ++j) o += p[static_cast<size_t>(j - begin)] * v(j, h / group, d);
          output(i, h, d) = o / sum;
        }
        lse(h, i) = top + std::log(sum);
      }
    }
  }

  void do_clear(const Context&, const Tensor& lse) const override { clear_on_host(lse); }
  void do_delta(const Context&, const Tensor& output, const Tensor& doutput, const Tensor& delta) const override {
    expect_supported(doutput.dtype(), {DType::kFloat64}, "reference", kName);
    const auto o = output.view<double, 3>(), g = doutput.view<double, 3>();
    const auto sum = delta.view<double, 2>();
    for (int64_t i = 0; i < o.size(0); ++i) {
      for (int64_t h = 0; h < o.size(1); ++h) sum(h, i) = dot(&o(i, h, 0), &g(i, h, 0), o.size(2));
    }
  }

  void do_backward(const Context&, const AttentionBlock& block, const AttentionGradient& gradient) const override {
    expect_supported(block.q.dtype(), {DType::kFloat64}, "reference", kName);
    const auto q = block.q.view<double, 3>(), k = block.k.view<double, 3>(), v = block.v.view<double, 3>();
    const auto g = gradient.doutput.view<double, 3>(), dq = gradient.dq.view<double, 3>();
    const auto dk = gradient.dk.view<double, 3>(), dv = gradient.dv.view<double, 3>();
    const auto lse = gradient.lse.view<double, 2>(), delta = gradient.delta.view<double, 2>();
    const int64_t group = q.size(1) / k.size(1), head_dim = q.size(2);
    for (int64_t h = 0; h < q.size(1); ++h) {
      for (int64_t i = 0; i < q.size(0); ++i) {
        if (lse(h, i) == -std::numeric_limits<double>::infinity()) continue;
        for (int64_t j = block.visible->begin()[static_cast<size_t>(i)];
             j < block.visible->end()[static_cast<size_t>(i)]; ++j) {
          const int64_t kv = h / group;
          const double p = std::exp(block.scale * dot(&q(i, h, 0), &k(j, kv, 0), head_dim) - lse(h, i));
          const double ds = p * (dot(&g(i, h, 0), &v(j, kv, 0), head_dim) - delta(h, i)) * block.scale;
          for (int64_t d = 0; d < head_dim; ++d) {
            dq(i, h, d) += ds * k(j, kv, d);
            dk(j, kv, d) += ds * q(i, h, d);
            dv(j, kv, d) += p * g(i, h, d);
          }
        }
      }
    }
  }
};

}  // namespace

void add_reference_attention(KernelSet& kernels) {
  kernels.add<BlockAttention>(std::make_shared<ReferenceAttention>());
}

}  // namespace longspan
