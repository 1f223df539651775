#include "tests/attention/sequence_case.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "attention/sequence_area.h"
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

// Memory that holds not-a-number until something is written, so that what was never received or computed shows.
class PoisonedResource final : public MemoryResource {
  void* do_allocate(size_t num_bytes, Stream& stream, MemoryTag tag) override {
    void* pointer = host_.allocate(num_bytes, stream, tag);
    std::memset(pointer, 0xff, num_bytes);
    return pointer;
  }
  void do_deallocate(void* pointer, size_t num_bytes, Stream& stream, MemoryTag tag) noexcept override {
    host_.deallocate(pointer, num_bytes, stream, tag);
  }
  HostResource host_;
};

Tensor draw(const Context& context, const Arithmetic& arithmetic, const Shape& shape, uint64_t seed, const char* name) {
  const Tensor drawn = random_tensor(context, shape, arithmetic.drawn, seed, name);
  if (arithmetic.drawn == arithmetic.dtype) return drawn;
  const auto numbers = values(drawn);
  const Tensor wide = context.empty(shape, DType::kFloat64);
  std::copy(numbers.begin(), numbers.end(), wide.data<double>());
  return wide;
}

std::vector<int64_t> document_begins(const SequenceCase& c, uint64_t seed) {
  std::vector<int64_t> begins;
  for (int64_t s = 0; s < c.num_sequences; ++s) {
    const RandomStream random(seed, fmt::format("documents {}", s));
    for (const int64_t b : random_document_begins(random, c.length, c.num_documents)) begins.push_back(s * c.length + b);
  }
  return begins;
}

}  // namespace

std::string SequenceCase::to_string() const {
  return fmt::format("{} of {} x {} tokens, {} documents, heads {}/{} x {}", name(layout), num_sequences, length,
                     num_documents, num_heads, num_kv_heads, head_dim);
}

double relative_error(const SequenceResult& got, const SequenceResult& want) {
  return std::max({relative_error(got.output, want.output), relative_error(got.dq, want.dq),
                   relative_error(got.dk, want.dk), relative_error(got.dv, want.dv)});
}

std::string difference(const SequenceResult& got, const SequenceResult& want, double tolerance) {
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

void add(const SequenceResult& part, SequenceResult& sum) {
  const auto add_to = [](const std::vector<double>& from, std::vector<double>& into) {
    into.resize(from.size());
    for (size_t i = 0; i < from.size(); ++i) into[i] += from[i];
  };
  add_to(part.output, sum.output);
  add_to(part.dq, sum.dq);
  add_to(part.dk, sum.dk);
  add_to(part.dv, sum.dv);
}

SequenceResult sum_of_ranks(const SequenceResult& part, const Context& context, Communicator& ranks) {
  const auto sum_of = [&](const std::vector<double>& mine) {
    const Tensor sum = context.host().empty({static_cast<int64_t>(mine.size())}, DType::kFloat64);
    std::copy(mine.begin(), mine.end(), sum.data<double>());
    ranks.all_reduce(context.host().stream(), sum, ReduceOp::kSum);
    return values(sum);
  };
  return {sum_of(part.output), sum_of(part.dq), sum_of(part.dk), sum_of(part.dv)};
}

SequenceLayout layout_of(const SequenceCase& c, int num_ranks, uint64_t seed) {
  if (c.chunks_per_rank == 0) return SequenceLayout(c.layout, num_ranks, c.length, c.num_sequences);
  return layout_by_area({.masking = c.masking, .num_ranks = num_ranks, .chunks_per_rank = c.chunks_per_rank},
                        c.length * c.num_sequences, document_begins(c, seed));
}

SequenceShare make_share(const Context& context, const SequenceCase& c, int rank, int num_ranks, uint64_t seed,
                         const Arithmetic& arithmetic) {
  const SequenceLayout layout = layout_of(c, num_ranks, seed);
  const auto mine = indices(layout.ranges(rank));
  const auto make = [&](const char* name, int64_t heads) {
    const Context& host = context.host();
    const Tensor all = draw(host, arithmetic, {layout.total_tokens(), heads, c.head_dim}, seed, name);
    return context.to_device(rows_of(host, all, mine));
  };
  return {.tiles = TileMap(c.masking, layout, rank, document_begins(c, seed)),
          .indices = mine,
          .q = make("q", c.num_heads),
          .k = make("k", c.num_kv_heads),
          .v = make("v", c.num_kv_heads),
          .doutput = make("dy", c.num_heads)};
}

SequenceResult attend_on(const SequenceCase& c, Context& context, Communicator& ranks, const ContextSchemeOptions& options,
                         DType drawn, uint64_t seed) {
  const auto attention = make_sequence_attention(ranks, options);
  const Arithmetic arithmetic = {.dtype = context.compute_dtype(), .drawn = drawn};
  const SequenceShare mine = make_share(context, c, ranks.rank(), ranks.size(), seed, arithmetic);
  AttentionStash stash;
  const Tensor output = attention->forward(context, mine.q, mine.k, mine.v, mine.tiles, &stash);
  const QkvGradient d = attention->backward(context, mine.doutput, mine.tiles, stash);
  const auto part = [&](const Tensor& t) { return placed(context, t, mine.indices, c.length * c.num_sequences); };
  return {part(output), part(d.dq), part(d.dk), part(d.dv)};
}

SequenceResult attend(const SequenceCase& c, int num_ranks, uint64_t seed, const SchemeRun& run) {
  SequenceResult result;
  std::mutex mutex;
  run_in_process(num_ranks, [&](Communicator& world) {
    Context context = run.make_context ? run.make_context()
                                       : make_context(run.arithmetic.dtype, std::make_shared<PoisonedResource>(), 1,
                                                      run.arithmetic.level);
    const auto decorated = run.decorate ? run.decorate(world) : nullptr;
    const SequenceResult part = attend_on(c, context, decorated ? *decorated : world, run.options, run.arithmetic.drawn, seed);
    const std::lock_guard lock(mutex);
    add(part, result);
  });
  return result;
}

}  // namespace longspan::test
