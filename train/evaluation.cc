#include "train/evaluation.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/kernels/loss.h"
#include "train/agreement.h"
#include "train/check_mesh.h"
#include "train/memory_need.h"
#include "train/model_state.h"
#include "train/rank_context.h"

namespace longspan {

namespace {

// By document, as doubles so that one reduction carries them: sum of losses, predicted tokens, tokens seen. Row 0 is for
// what belongs to no one document (a stream), document d has row d + 1.
class Sums {
 public:
  Sums(const Context& context, int64_t num_documents)
      : tensor_(context.host().zeros({num_documents + 1, 3}, DType::kFloat64, MemoryTag::kWorkspace)) {}

  // `documents`: of the sequence; `ranges`: the places in it of what the batch holds. Its targets and losses are the host's.
  void add(const std::vector<DocumentSpan>& documents, const IndexRanges& ranges, const Tensor& batch_targets,
           const Tensor& losses) {
    const auto view = tensor_.view<double, 2>();
    const int32_t* targets = batch_targets.data<int32_t>();
    const bool doubles = losses.dtype() == DType::kFloat64;
    int64_t slot = 0;
    for (const IndexRange& range : ranges) {
      for (int64_t i = 0; i < range.length; ++i, ++slot) {
        const auto next = std::upper_bound(documents.begin(), documents.end(), range[i],
                                           [](int64_t place, const DocumentSpan& s) { return place < s.begin; });
        const int64_t row = std::prev(next)->document + 1;
        view(row, 0) += doubles ? losses.data<double>()[slot] : static_cast<double>(losses.data<float>()[slot]);
        view(row, 1) += targets[slot] != kNoTarget;
        view(row, 2) += 1;
      }
    }
  }

  const Tensor& tensor() const { return tensor_; }

 private:
  Tensor tensor_;
};

}  // namespace

double DocumentLoss::bits_per_byte() const {
  if (tokens == 0) return 0;
  const double unpredicted = static_cast<double>(tokens - predicted_tokens);
  return (loss_sum / std::numbers::ln2 + 8 * unpredicted) / static_cast<double>(tokens);
}

Evaluator::Evaluator(const Context& context, const RunSpec& spec, const ProcessMesh& mesh)
    : spec_(spec),
      mesh_(mesh),
      data_(open_dataset(*spec.evaluation.data, spec.seed, spec.model.vocabulary_size, Order::kListed)) {
  agree_on_data(context, mesh.world(), data_, "evaluation.files");
}

// Those under way at once keep a pipeline busy, with four microbatches for each stage. They have tables, and keys that later
// chunks read, and nothing is kept for backward: less than a training step has of as many tokens, and no more tokens than that.
int64_t Evaluator::sequences_at_once() const {
  if (mesh_.shape().pipeline == 1) return 1;
  const int64_t of_step =
      spec_.global_batch_sequences * spec_.data.sequence_length / (mesh_.shape().data * spec_.evaluation.data->sequence_length);
  return std::max<int64_t>(1, std::min<int64_t>(of_step, 4 * mesh_.shape().pipeline / num_chunks()));
}

int Evaluator::num_chunks() const {
  const int chunks = spec_.pipeline.sequence_chunks;
  return mesh_.shape().context > 1 || chunks > spec_.evaluation.data->sequence_length ? 1 : chunks;
}

std::vector<DocumentSpan> Evaluator::load(const Context& context, int64_t number, std::vector<Microbatch>& batches) const {
  std::vector<TokenSequence> one;
  one.push_back(data_.sequence(number));
  const CountedBytes counted = count_tokens(context, one);
  const ContextShare share = {.layout = spec_.layout,
                              .num_ranks = mesh_.shape().context,
                              .rank = mesh_.coordinate(Axis::kContext)};
  if (num_chunks() > 1) {
    add_chunks(context, spec_.model, num_chunks(), one, batches);
  } else {
    batches.push_back(make_microbatch(context, spec_.model, share, one));
  }
  return std::move(one.front().documents);
}

EvaluationResult Evaluator::run(Context& context, PipelineStage& stage, Decoder& decoder) const {
  int64_t num_sequences = data_.num_sequences_per_epoch();
  if (spec_.evaluation.max_sequences > 0) num_sequences = std::min(num_sequences, spec_.evaluation.max_sequences);
  Sums sums(context, data_.num_documents());
  // Ranks that share weights gather them together: who has no sequence left helps with one that does not count.
  const int64_t data = mesh_.shape().data, rounds = (num_sequences + data - 1) / data;
  const int64_t end = decoder.parameters().share().of_weights() ? rounds * data : num_sequences;
  check(decoder.microbatches().empty(), "an evaluation between the {} microbatches of a step", decoder.microbatches().size());
  for (int64_t n = mesh_.coordinate(Axis::kData); n < end;) {
    std::vector<std::vector<DocumentSpan>> documents;  // by sequence
    size_t num_counted = 0;
    for (; n < end && std::ssize(documents) < sequences_at_once(); n += data) {
      documents.push_back(load(context, std::min(n, num_sequences - 1), decoder.microbatches()));
      num_counted += n < num_sequences;
    }
    stage.run_forward(context, decoder);
    const std::vector<Microbatch> batches = std::exchange(decoder.microbatches(), {});
    if (!decoder.has_head()) continue;
    const size_t chunks = batches.size() / documents.size();
    for (size_t b = 0; b < num_counted * chunks; ++b) {
      const int place = chunks > 1 ? static_cast<int>(b % chunks) : mesh_.coordinate(Axis::kContext);
      sums.add(documents[b / chunks], batches[b].layout->ranges(place), context.to_host(batches[b].targets),
               context.to_host(batches[b].losses));
    }
  }
  mesh_.replicas().all_reduce(context.host().stream(), sums.tensor(), ReduceOp::kSum);
  mesh_.axis(Axis::kPipeline).all_reduce(context.host().stream(), sums.tensor(), ReduceOp::kSum);  // where the head is not: 0

  EvaluationResult result;
  DocumentLoss all;
  const auto view = sums.tensor().view<double, 2>();
  for (int64_t row = 0; row <= data_.num_documents(); ++row) {
    if (view(row, 2) == 0) continue;
    result.documents.push_back({.name = row == 0 ? "stream" : data_.document_name(row - 1),
                                .tokens = static_cast<int64_t>(view(row, 2)),
                                .predicted_tokens = static_cast<int64_t>(view(row, 1)),
                                .loss_sum = view(row, 0)});
    const DocumentLoss& document = result.documents.back();
    all.tokens += document.tokens;
    all.predicted_tokens += document.predicted_tokens;
    all.loss_sum += document.loss_sum;
  }
  if (all.predicted_tokens == 0) raise(ErrorKind::kData, "the held-out data hold no token that could be predicted");
  result.report.loss = all.loss_sum / static_cast<double>(all.predicted_tokens);
  result.report.perplexity = std::exp(result.report.loss);
  if (data_.bytes_per_token()) result.report.bits_per_byte = all.bits_per_byte();
  result.report.tokens = all.tokens;
  return result;
}

EvaluationResult evaluate(const RunSpec& spec, Communicator& world, const RankResources& resources,
                          TrainObserver& observer) {
  if (!spec.evaluation.data) {
    raise(ErrorKind::kConfiguration, "evaluation.files: nothing is held out; name files, or set data.holdout_every");
  }
  check_mesh(spec, world.size(), MeshUse::kInference);
  RankContext rank(spec.compute_dtype, resources);
  const ProcessMesh mesh(world, spec.mesh);
  const std::unique_ptr<SequenceAttention> attention = make_attention(rank.context(), spec, mesh, observer);
  const Evaluator evaluator(rank.context(), spec, mesh);
  PipelineStage stage(spec, mesh);
  Decoder decoder(spec.model, {.attention = *attention, .tensor = mesh.axis(Axis::kTensor)}, spec.loss_tile_tokens,
                  stage.blocks());
  check_weights(rank.context(), spec, mesh);
  on_every_rank(rank.context(), world, [&] { expect_room_for_inference(spec, resources.memory_bytes, resources.processor()); });
  const StateShare share = state_share(spec, mesh);
  stage.share_state(mesh, decoder, share);
  decoder.parameters().materialize(rank.context(), ParameterSet::Purpose::kInference, share);
  const int64_t step = load_for_inference(rank.context(), spec, mesh, decoder.parameters(), observer);
  EvaluationResult result = evaluator.run(rank.context(), stage, decoder);
  result.report.step = step;
  if (!std::isfinite(result.report.loss)) {
    raise(ErrorKind::kNumerical, "the loss on the held-out data is {}: the weights of step {} of {} are unusable",
          result.report.loss, step, spec.model_folder.empty() ? spec.output_directory : spec.model_folder);
  }
  return result;
}

}  // namespace longspan
