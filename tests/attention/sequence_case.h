// A problem of attention over several ranks: whatever the scheme, its outputs and gradients by index. Every rank draws the
// inputs for itself, so that results of any number of ranks, in any arithmetic and on any device, can be compared.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "attention/context_scheme.h"
#include "parallel/comm/backends.h"
#include "tests/support/reference_context.h"

namespace longspan::test {

struct SequenceCase {
  LayoutType layout;
  Masking masking;
  int64_t length, num_sequences, num_documents, num_heads, num_kv_heads, head_dim;
  int chunks_per_rank = 0;  // not 0: that many of each rank, by area, whatever the layout
  std::string to_string() const;
};

struct SequenceResult {
  std::vector<double> output, dq, dk, dv;  // by index, whatever rank held it
};
// The largest of the relative errors of the four.
double relative_error(const SequenceResult& got, const SequenceResult& want);
// Empty where each of them is less than that; else which are not.
std::string difference(const SequenceResult& got, const SequenceResult& want, double tolerance);
void add(const SequenceResult& part, SequenceResult& sum);  // which may be empty
// Of all ranks, on each of them: by the host's side of the group.
SequenceResult sum_of_ranks(const SequenceResult& part, const Context& context, Communicator& ranks);

// What the ranks compute in, and on what; `drawn`: to which dtype the random inputs are rounded.
struct Arithmetic {
  DType dtype = DType::kFloat64, drawn = DType::kFloat64;
  CpuLevel level = detect_cpu_level();
};

SequenceLayout layout_of(const SequenceCase& c, int num_ranks, uint64_t seed);

// One rank's part of a problem, inputs drawn from the seed.
struct SequenceShare {
  TileMap tiles;
  std::vector<int64_t> indices;
  Tensor q, k, v, doutput;
};
SequenceShare make_share(const Context& context, const SequenceCase& c, int rank, int num_ranks, uint64_t seed,
                         const Arithmetic& arithmetic = {});

// What this rank holds of the result, with zeros elsewhere, in the context's dtype; the inputs are rounded to `drawn`.
SequenceResult attend_on(const SequenceCase& c, Context& context, Communicator& ranks, const ContextSchemeOptions& options,
                         DType drawn, uint64_t seed);

// All ranks, each a thread.
struct SchemeRun {
  ContextSchemeOptions options = {.scale = 0.3};
  Arithmetic arithmetic = {};
  // Decorates a rank's communicator, which is given to the scheme instead. Empty: nothing does.
  std::function<std::unique_ptr<Communicator>(Communicator&)> decorate = {};
  std::function<Context()> make_context = {};  // of a rank. Empty: the CPU's for the arithmetic, in memory that is poisoned
};
SequenceResult attend(const SequenceCase& c, int num_ranks, uint64_t seed, const SchemeRun& run = {});

}  // namespace longspan::test
