#include "train/batch.h"

#include <algorithm>

#include "attention/sequence_area.h"
#include "core/kernels/loss.h"
#include "train/pipeline_plan.h"

namespace longspan {

namespace {

size_t total_tokens(const std::vector<TokenSequence>& sequences) {
  size_t total = 0;
  for (const TokenSequence& sequence : sequences) total += sequence.tokens.size();
  return total;
}

// The first index of each document of the microbatch, whose sequences lie one after the other.
std::vector<int64_t> document_begins(const std::vector<TokenSequence>& sequences) {
  std::vector<int64_t> begins;
  int64_t base = 0;
  for (const TokenSequence& sequence : sequences) {
    int64_t end = 0;
    for (const DocumentSpan& span : sequence.documents) {
      begins.push_back(base + span.begin);
      end += span.length;
    }
    const auto length = static_cast<int64_t>(sequence.tokens.size());
    check(end == length, "the documents of a sequence hold {} of its {} tokens", end, length);
    base += length;
  }
  return begins;
}

// One rank's tokens, in slot order.
struct OwnTokens {
  Tensor tokens, targets;
  HostVector<int64_t> positions;
  size_t num_filled = 0;
  int64_t num_predicted = 0, num_pairs = 0;

  OwnTokens(const Context& host, int64_t num_tokens)
      : tokens(host.empty({num_tokens}, DType::kInt32)),
        targets(host.empty({num_tokens}, DType::kInt32)),
        positions(host.host_vector<int64_t>()) {
    positions.reserve(static_cast<size_t>(num_tokens));
  }

  void append(const TokenSequence& sequence, int64_t place) {
    const auto next = std::upper_bound(sequence.documents.begin(), sequence.documents.end(), place,
                                       [](int64_t p, const DocumentSpan& s) { return p < s.begin; });
    const DocumentSpan& span = *std::prev(next);
    const bool last = place + 1 == span.begin + span.length;
    tokens.data<int32_t>()[num_filled] = sequence.tokens[static_cast<size_t>(place)];
    targets.data<int32_t>()[num_filled] = last ? kNoTarget : sequence.tokens[static_cast<size_t>(place + 1)];
    positions.push_back(place - span.begin);
    ++num_filled;
    num_predicted += !last;
    num_pairs += place - span.begin + 1;
  }
};

}  // namespace

CountedBytes count_tokens(const Context& context, const std::vector<TokenSequence>& sequences) {
  return CountedBytes(context.host().memory(), total_tokens(sequences) * sizeof(int32_t), MemoryTag::kWorkspace);
}

Microbatch make_microbatch(const Context& context, const ModelSpec& model, const ContextShare& share,
                           const std::vector<TokenSequence>& sequences) {
  check(!sequences.empty(), "a microbatch needs a sequence");
  const auto length = static_cast<int64_t>(sequences.front().tokens.size());
  const BatchShape shape = {.sequence_length = length, .num_sequences = static_cast<int64_t>(sequences.size())};
  check(shape.sequence_length * shape.num_sequences == static_cast<int64_t>(total_tokens(sequences)),
        "the sequences of a microbatch differ in length");
  const std::vector<int64_t> begins = document_begins(sequences);
  const auto shared = std::make_shared<const SequenceLayout>(lay_out(share.layout, share.num_ranks, shape, begins));
  const SequenceLayout& layout = *shared;
  OwnTokens own(context.host(), layout.num_tokens(share.rank));
  for (const IndexRange& range : layout.ranges(share.rank)) {
    for (int64_t i = 0; i < range.length; ++i) {
      own.append(sequences[static_cast<size_t>(range[i] / length)], range[i] % length);
    }
  }
  return {.tokens = context.to_device(own.tokens),
          .targets = context.to_device(own.targets),
          .num_predicted = own.num_predicted,
          .num_pairs = own.num_pairs,
          .layout = shared,
          .shard = {.rotary = make_rotary_table(context, model.rope, model.head_dim, own.positions),
                    .tiles = TileMap(Masking::kCausal, layout, share.rank, begins,
                                     context.host_vector<int32_t>().get_allocator())},
          .gradient_scale = 0,
          .losses = {}};
}

void add_chunks(const Context& context, const ModelSpec& model, int num_chunks, const std::vector<TokenSequence>& sequences,
                std::vector<Microbatch>& batches) {
  const auto prefixes = std::make_shared<SequencePrefixes>(num_chunks);
  for (int chunk = 0; chunk < num_chunks; ++chunk) {
    const ContextShare share = {.layout = LayoutType::kContiguous, .num_ranks = num_chunks, .rank = chunk};
    batches.push_back(make_microbatch(context, model, share, sequences));
    batches.back().shard.prefixes = prefixes;
  }
}

double sum_of_losses(const Context& context, const Microbatch& batch) {
  if (!batch.losses.defined()) return 0;
  double sum = 0;
  const Tensor losses = context.to_host(batch.losses);
  const bool doubles = losses.dtype() == DType::kFloat64;
  for (int64_t i = 0; i < losses.size(0); ++i) {
    sum += doubles ? losses.data<double>()[i] : static_cast<double>(losses.data<float>()[i]);
  }
  return sum;
}

BatchLoader::BatchLoader(const RunSpec& spec, const Dataset& dataset, const ProcessMesh& mesh)
    : spec_(spec), dataset_(dataset), mesh_(mesh), num_microbatches_(num_microbatches_of(spec)) {
  continue_at(0, 1);
}

std::vector<Microbatch> BatchLoader::load(Context& context, int64_t step) const {
  const TraceRange range(context.tracer(), TimeCategory::kData, "load batch");
  const ContextShare share = {.layout = spec_.layout,
                              .num_ranks = mesh_.shape().context,
                              .rank = mesh_.coordinate(Axis::kContext)};
  const int64_t rows = num_microbatches_ * spec_.micro_batch_sequences;
  int64_t number = first_sequence(step) + mesh_.coordinate(Axis::kData) * rows;
  std::vector<Microbatch> batches;
  const Context& host = context.host();
  Tensor predicted = host.zeros({1}, DType::kInt64, MemoryTag::kWorkspace);
  for (int m = 0; m < num_microbatches_; ++m) {
    std::vector<TokenSequence> sequences;
    for (int64_t s = 0; s < spec_.micro_batch_sequences; ++s) sequences.push_back(dataset_.sequence(number++));
    const CountedBytes counted = count_tokens(context, sequences);
    if (spec_.pipeline.sequence_chunks == 1) {
      batches.push_back(make_microbatch(context, spec_.model, share, sequences));
    } else {
      add_chunks(context, spec_.model, spec_.pipeline.sequence_chunks, sequences, batches);
    }
  }
  for (const Microbatch& batch : batches) *predicted.data<int64_t>() += batch.num_predicted;
  mesh_.replicas().all_reduce(host.stream(), predicted, ReduceOp::kSum);
  const int64_t total = *predicted.data<int64_t>();
  if (total == 0) raise(ErrorKind::kData, "step {}: every document has one token, so nothing can be predicted", step);
  for (Microbatch& batch : batches) batch.gradient_scale = 1 / static_cast<double>(total);
  return batches;
}

}  // namespace longspan
