#include "train/batch.h"

#include <cstring>

#include "core/kernels/loss.h"

namespace longspan {

namespace {

// What each index of a microbatch holds: sequences one after the other.
struct IndexTable {
  std::vector<int32_t> tokens, targets;
  std::vector<int64_t> positions, document_begins;

  explicit IndexTable(const std::vector<TokenSequence>& sequences) {
    for (const TokenSequence& sequence : sequences) append(sequence);
  }

  void append(const TokenSequence& sequence) {
    const auto base = static_cast<int64_t>(tokens.size());
    tokens.insert(tokens.end(), sequence.tokens.begin(), sequence.tokens.end());
    for (const DocumentSpan& span : sequence.documents) {
      document_begins.push_back(base + span.begin);
      for (int64_t i = 0; i < span.length; ++i) {
        const bool last = i + 1 == span.length;
        targets.push_back(last ? kNoTarget : sequence.tokens[static_cast<size_t>(span.begin + i + 1)]);
        positions.push_back(i);
      }
    }
    check(targets.size() == tokens.size(), "the documents of a sequence hold {} of its {} tokens", targets.size(),
          tokens.size());
  }
};

Tensor select(const Context& context, const std::vector<int32_t>& values, const std::vector<int64_t>& places) {
  Tensor t = context.empty({static_cast<int64_t>(places.size())}, DType::kInt32);
  int32_t* data = t.data<int32_t>();
  for (size_t i = 0; i < places.size(); ++i) data[i] = values[static_cast<size_t>(places[i])];
  return t;
}

}  // namespace

Microbatch make_microbatch(const Context& context, const ModelSpec& model, const ContextShare& share,
                           const std::vector<TokenSequence>& sequences) {
  check(!sequences.empty(), "a microbatch needs a sequence");
  const auto length = static_cast<int64_t>(sequences.front().tokens.size());
  const IndexTable table(sequences);
  const SequenceLayout layout(share.layout, share.num_ranks, length, static_cast<int64_t>(sequences.size()));
  check(layout.total_tokens() == static_cast<int64_t>(table.tokens.size()),
        "the sequences of a microbatch differ in length");
  const std::vector<int64_t> mine = indices(layout.ranges(share.rank));
  std::vector<int64_t> positions;
  for (const int64_t index : mine) positions.push_back(table.positions[static_cast<size_t>(index)]);
  return {.tokens = select(context, table.tokens, mine),
          .targets = select(context, table.targets, mine),
          .shard = {.rotary = make_rotary_table(context, model.rope, model.head_dim, positions),
                    .tiles = TileMap(Masking::kCausal, layout, share.rank, table.document_begins)},
          .gradient_scale = 0,
          .losses = {}};
}

int64_t num_predicted(const Microbatch& batch) {
  const int32_t* targets = batch.targets.data<int32_t>();
  int64_t n = 0;
  for (int64_t i = 0; i < batch.targets.size(0); ++i) n += targets[i] != kNoTarget;
  return n;
}

double sum_of_losses(const Microbatch& batch) {
  double sum = 0;
  const bool doubles = batch.losses.dtype() == DType::kFloat64;
  for (int64_t i = 0; i < batch.losses.size(0); ++i) {
    sum += doubles ? batch.losses.data<double>()[i] : static_cast<double>(batch.losses.data<float>()[i]);
  }
  return sum;
}

BatchLoader::BatchLoader(const RunSpec& spec, const Dataset& dataset, const ProcessMesh& mesh)
    : spec_(spec), dataset_(dataset), mesh_(mesh) {
  const int64_t share = static_cast<int64_t>(mesh.shape().data) * spec.micro_batch_sequences;
  if (spec.global_batch_sequences % share != 0) {
    raise(ErrorKind::kConfiguration,
          "training.global_batch_sequences: {} is not a multiple of mesh.data {} x training.micro_batch_sequences {}",
          spec.global_batch_sequences, mesh.shape().data, spec.micro_batch_sequences);
  }
  num_microbatches_ = static_cast<int>(spec.global_batch_sequences / share);
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
  Tensor predicted = context.zeros({1}, DType::kInt64, MemoryTag::kWorkspace);
  for (int m = 0; m < num_microbatches_; ++m) {
    std::vector<TokenSequence> sequences;
    for (int64_t s = 0; s < spec_.micro_batch_sequences; ++s) sequences.push_back(dataset_.sequence(number++));
    batches.push_back(make_microbatch(context, spec_.model, share, sequences));
    *predicted.data<int64_t>() += num_predicted(batches.back());
  }
  mesh_.replicas().all_reduce(context.stream(), predicted, ReduceOp::kSum);
  const int64_t total = *predicted.data<int64_t>();
  if (total == 0) raise(ErrorKind::kData, "step {}: every document has one token, so nothing can be predicted", step);
  for (Microbatch& batch : batches) batch.gradient_scale = 1 / static_cast<double>(total);
  return batches;
}

}  // namespace longspan
