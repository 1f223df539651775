#include "tests/attention/ring_problem.h"

#include <cstring>

#include "attention/ring_attention.h"
#include "tests/support/sequences.h"
#include "tests/support/tensors.h"

namespace longspan::test {

namespace {

// Rows of a global tensor that a rank holds, and back.
Tensor rows_of(const Context& context, const Tensor& all, const std::vector<int64_t>& places) {
  Tensor mine = context.empty({static_cast<int64_t>(places.size()), all.size(1), all.size(2)}, all.dtype());
  const auto row = static_cast<size_t>(all.size(1) * all.size(2)) * size_bytes(all.dtype());
  for (size_t i = 0; i < places.size(); ++i) {
    std::memcpy(static_cast<std::byte*>(mine.raw()) + i * row,
                static_cast<const std::byte*>(all.raw()) + static_cast<size_t>(places[i]) * row, row);
  }
  return mine;
}

std::vector<double> placed(const Context& context, const Tensor& mine, const std::vector<int64_t>& places, int64_t num_rows) {
  const int64_t n = mine.size(1) * mine.size(2);
  const auto rows = values(context.to_host(mine));
  std::vector<double> all(static_cast<size_t>(num_rows * n));
  for (size_t i = 0; i < places.size(); ++i) {
    std::copy_n(rows.data() + static_cast<int64_t>(i) * n, n, all.data() + places[i] * n);
  }
  return all;
}

Tensor draw(const Context& context, DType drawn_dtype, DType dtype, const Shape& shape, uint64_t seed, const char* name) {
  const Tensor drawn = random_tensor(context, shape, drawn_dtype, seed, name);
  if (drawn_dtype == dtype) return drawn;
  const auto numbers = values(drawn);
  const Tensor wide = context.empty(shape, DType::kFloat64);
  std::copy(numbers.begin(), numbers.end(), wide.data<double>());
  return wide;
}

std::vector<int64_t> document_begins(const RingProblem& p, uint64_t seed) {
  std::vector<int64_t> begins;
  for (int64_t s = 0; s < p.num_sequences; ++s) {
    const RandomStream random(seed, fmt::format("documents {}", s));
    for (const int64_t b : random_document_begins(random, p.length, p.num_documents)) begins.push_back(s * p.length + b);
  }
  return begins;
}

}  // namespace

RingResult attend_on_ring(const RingProblem& p, Context& context, Communicator& ring, DType drawn, uint64_t seed) {
  const int64_t total = p.length * p.num_sequences;
  const SequenceLayout layout(p.layout, ring.size(), p.length, p.num_sequences);
  const TileMap tiles(p.masking, layout, ring.rank(), document_begins(p, seed));
  const auto mine = indices(layout.ranges(ring.rank()));
  const auto make = [&](const char* name, int64_t heads) {
    const Context& host = context.host();
    const Tensor all = draw(host, drawn, context.compute_dtype(), {total, heads, p.head_dim}, seed, name);
    return context.to_device(rows_of(host, all, mine));
  };
  const Tensor q = make("q", p.num_heads), k = make("k", p.num_kv_heads), v = make("v", p.num_kv_heads);
  const RingAttention attention(ring, 0.3);
  AttentionStash stash;
  const Tensor output = attention.forward(context, q, k, v, tiles, &stash);
  const QkvGradient d = attention.backward(context, make("dy", p.num_heads), tiles, stash);
  const auto part = [&](const Tensor& t) { return placed(context, t, mine, total); };
  return {part(output), part(d.dq), part(d.dk), part(d.dv)};
}

void add(const RingResult& part, RingResult& sum) {
  const auto add_to = [](const std::vector<double>& from, std::vector<double>& into) {
    into.resize(from.size());
    for (size_t i = 0; i < from.size(); ++i) into[i] += from[i];
  };
  add_to(part.output, sum.output);
  add_to(part.dq, sum.dq);
  add_to(part.dk, sum.dk);
  add_to(part.dv, sum.dv);
}

RingResult sum_of_ranks(const RingResult& part, const Context& context, Communicator& ring) {
  const auto sum_of = [&](const std::vector<double>& mine) {
    const Tensor sum = context.host().empty({static_cast<int64_t>(mine.size())}, DType::kFloat64);
    std::copy(mine.begin(), mine.end(), sum.data<double>());
    ring.all_reduce(context.host().stream(), sum, ReduceOp::kSum);
    return values(sum);
  };
  return {sum_of(part.output), sum_of(part.dq), sum_of(part.dk), sum_of(part.dv)};
}

std::string describe(const RingProblem& p) {
  return fmt::format("{} of {} x {} tokens, {} documents, heads {}/{} x {}", name(p.layout), p.num_sequences, p.length,
                     p.num_documents, p.num_heads, p.num_kv_heads, p.head_dim);
}

std::string difference(const RingResult& got, const RingResult& want, double tolerance) {
  std::string all;
  const auto compare = [&](const char* what, const std::vector<double>& g, const std::vector<double>& w) {
    const double error = relative_error(g, w);
    if (!(error < tolerance)) all += fmt::format("{}: an error of {} is not less than {}\n", what, error, tolerance);
  };
  compare("O", got.output, want.output);
  compare("dQ", got.dq, want.dq);
  compare("dK", got.dk, want.dk);
  compare("dV", got.dv, want.dv);
  return all;
}

}  // namespace longspan::test
