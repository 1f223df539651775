#include "train/memory_need.h"

#include <algorithm>
#include <numeric>
#include <ranges>

#include "attention/exchanged_heads.h"
#include "attention/kernels/block_attention.h"
#include "core/base/error.h"
#include "core/kernels/backends.h"
#include "parallel/tensor/head_split.h"
#include "train/pipeline_plan.h"
#include "train/plan/held_parameters.h"

namespace longspan {

namespace {

double as_double(int64_t value) { return static_cast<double>(value); }
double gigabytes(double bytes) { return bytes / 1e9; }

bool fits(double bytes, int64_t available_bytes) { return available_bytes == 0 || bytes <= as_double(available_bytes); }

bool packs(const RunSpec& spec, const Processor& processor) {
  return processor.on_cpu() && cpu_packs(spec.compute_dtype, processor.level);
}

// Over how many ranks that state is spread.
double ranks_that_share(const RunSpec& spec, RunSpec::Sharding state) {
  return spec.sharding < state ? 1 : as_double(spec.mesh.data) * as_double(spec.mesh.context);
}
bool shares(const RunSpec& spec, RunSpec::Sharding state) { return ranks_that_share(spec, state) > 1; }

// A model of which the even part of each rank of the tensor axis is as large as what the fullest rank has of this one: heads do
// not always divide, and key heads of which there are fewer than ranks are held, or seen by attention, by several.
enum class KeyHeads { kHeld, kSeen };
ModelSpec evened(const RunSpec& spec, KeyHeads keys) {
  const int tensor = spec.mesh.tensor;
  ModelSpec model = spec.model;
  if (tensor == 1) return model;
  int64_t q = 0, kv = 0;
  for (int rank = 0; rank < tensor; ++rank) {
    const HeadSplit split = split_heads(spec.model.num_heads, spec.model.num_kv_heads, tensor, rank);
    const int64_t own = keys == KeyHeads::kHeld ? split.kv.size() : static_cast<int64_t>(split.kv_of.size());
    if (split.q.size() + 2 * own > q + 2 * kv) q = split.q.size(), kv = own;
  }
  model.num_heads = q * tensor;
  model.num_kv_heads = kv * tensor;
  return model;
}

// Bytes of one token in each part of a decoder, in the compute dtype, and of one number in the dtype of sums.
struct TokenBytes {
  TokenBytes(const RunSpec& spec, const ModelSpec& model)
      : compute(as_double(static_cast<int64_t>(size_bytes(spec.compute_dtype)))),
        sum(as_double(static_cast<int64_t>(size_bytes(accumulator(spec.compute_dtype))))),
        hidden(compute * as_double(model.hidden_size)),
        q(compute * as_double(model.num_heads) * as_double(model.head_dim)),
        kv(2 * compute * as_double(model.num_kv_heads) * as_double(model.head_dim)),
        mlp(compute * as_double(model.mlp_size)) {}
  double in_sums(double bytes) const { return bytes / compute * sum; }
  double compute, sum, hidden, q, kv, mlp;  // kv: keys and values together
};

// The stash of one decoder block: inputs and outputs of both norms, q and what attention gives, k and v, three of the
// MLP; the numbers that norms and the softmax keep for a row. Norms of q and k keep their inputs, too.
double stash_of_block(const ModelSpec& model, const TokenBytes& b) {
  double bytes = 4 * b.hidden + 2 * b.q + b.kv + 3 * b.mlp + b.sum * (2 + as_double(model.num_heads));
  if (model.qk_norm == ModelSpec::QkNorm::kYes) {
    bytes += b.q + b.kv / 2 + b.sum * (as_double(model.num_heads) + as_double(model.num_kv_heads));
  }
  return bytes;
}

// The head's loss: the last block's output, its norm, the gradient of that and the norm's number for a row; the logits
// of a tile, and on a CPU their gradients where they have another dtype; elsewhere those take the logits' place.
double at_work_in_loss(const RunSpec& spec, const TokenBytes& b, const Processor& processor, double tokens) {
  const double logit = b.sum + (b.sum == b.compute || !processor.on_cpu() ? 0 : b.compute);
  return tokens * (3 * b.hidden + b.sum) +
         std::min(tokens, as_double(spec.loss_tile_tokens)) * as_double(spec.model.vocabulary_size) * logit;
}

// Backward of the last block, whose stash is still there: in its MLP the gradients of the output and of three inner
// tensors; in attention those of output, of the MLP's input and of the norm before it, of what attention gave, of q, k
// and v in sums, and a number for each head.
double at_work_in_mlp(const TokenBytes& b, double tokens) { return tokens * (b.hidden + 3 * b.mlp); }
double at_work_in_attention(const ModelSpec& model, const TokenBytes& b, double tokens) {
  return tokens * (3 * b.hidden + b.q + b.in_sums(b.q) + b.in_sums(b.kv) + b.sum * as_double(model.num_heads));
}

// What attention packs of this rank's queries and of a shard of keys, all of which the rank with the first queries sees.
double packed_in_attention(const RunSpec& spec, const ModelSpec& seen, const Processor& processor, double tokens) {
  if (!processor.on_cpu()) return 0;
  constexpr double kBeyondEveryWindow = 1 << 20;
  const auto queries = static_cast<int64_t>(std::clamp(tokens, 1.0, kBeyondEveryWindow));
  return as_double(cpu_attention_workspace_bytes(spec.compute_dtype, processor.level,
                                                 {.num_queries = queries,
                                                  .num_keys = queries,
                                                  .num_heads = seen.num_heads,
                                                  .num_kv_heads = seen.num_kv_heads,
                                                  .head_dim = spec.model.head_dim}));
}

// Received keys and values, of this hop and, from three ranks on, of the next; of their gradients what leaves and what
// arrives (this hop's contribution is among the gradients of attention).
double ring_buffers(int num_ranks, const TokenBytes& b, double tokens) {
  if (num_ranks == 1) return 0;
  return tokens * ((num_ranks > 2 ? 2 : 1) * b.kv + 2 * b.in_sums(b.kv));
}

// What the scheme of the context axis holds beside that, of a token.
struct SchemeBytes {
  double kept = 0;     // in each layer for backward
  double in_pass = 0;  // in the backward of one layer
};

// Keys that an exchange puts on several ranks, relative to all keys once.
double repeated_keys(const RunSpec& spec, int inner) {
  const auto heads_of = [&](int64_t heads) { return std::max<int64_t>(1, heads / spec.mesh.tensor); };
  const int64_t kv_heads = heads_of(spec.model.num_kv_heads);
  const int64_t most = heads_of(spec.model.num_heads) / kv_heads * kv_heads;
  const int ranks = static_cast<int>(std::min<int64_t>(inner, most));
  int64_t held = 0;
  for (const auto& parts : exchanged_heads(most, kv_heads, ranks).keys) {
    for (const HeadRange& part : parts) held += part.size();
  }
  return as_double(held) / as_double(kv_heads);
}

// Exchanged heads are kept apart from the output of a rank's own tokens; rings in rounds have a round's keys and sums beside a
// hop's.
SchemeBytes scheme_bytes(const RunSpec& spec, const TokenBytes& b) {
  const int ranks = spec.mesh.context, inner = group_ranks(spec);
  if (ranks == 1) return {};
  const auto exchanged = [&](int group) {
    const double repeated = repeated_keys(spec, group);
    const double across = repeated * ring_buffers(ranks / group, b, 1);
    if (group == 1) return SchemeBytes{.in_pass = across};
    return SchemeBytes{.kept = b.q + (repeated - 1) * b.kv, .in_pass = across + b.q + (repeated - 1) * b.in_sums(b.kv)};
  };
  switch (spec.context.scheme) {
    case ContextScheme::kRing:
      return {.in_pass = ring_buffers(ranks, b, 1)};
    case ContextScheme::kDoubleRing:
      return {.in_pass = ring_buffers(inner, b, 1) + (ranks > inner ? b.kv + 2 * b.in_sums(b.kv) : 0)};
    // Of a key head and the next, the keys of all ranks and sums for them, and what arrives of these.
    case ContextScheme::kAllGather: {
      const double heads = as_double(std::max<int64_t>(1, spec.model.num_kv_heads / spec.mesh.tensor));
      const double sets = ranks * std::min(2.0, heads), sums = b.in_sums(b.kv) / heads;
      return {.in_pass = sets * (b.kv / heads + sums) + (ranks - 1) * sums};
    }
    case ContextScheme::kAllToAll:
      return exchanged(ranks);
    case ContextScheme::kHybrid:
      return exchanged(inner);
  }
  return {};
}

enum class Step { kNone, kTraining };

// What of the model a rank of the pipeline axis has, and the most stashes of its layers that a step keeps at once.
struct Stage {
  int64_t num_layers = 0, peak_stashes = 0;
  bool has_embedding = true, has_head = true;
  std::vector<int> blocks = {};
};

Stage whole_model(const ModelSpec& model) {
  std::vector<int> blocks(static_cast<size_t>(num_blocks(model)));
  std::iota(blocks.begin(), blocks.end(), 0);
  return {.num_layers = model.num_layers, .peak_stashes = model.num_layers, .blocks = std::move(blocks)};
}

// Once a pipeline is full, more microbatches keep no more stashes, but by GPipe, which keeps those of all. So few are planned.
void count_stashes(const RunSpec& spec, std::vector<Stage>& found) {
  const int stages = spec.mesh.pipeline, chunks = spec.pipeline.sequence_chunks;
  // 4 for each stage; a multiple of what schedules take at once.
  const int enough = 4 * chunks * ((stages + chunks - 1) / chunks);
  const int all = num_microbatches_of(spec);
  RunSpec few = spec;
  if (all > enough) few.global_batch_sequences = spec.global_batch_sequences / all * enough;
  const PipelineFacts facts = verify_pipeline(plan_pipeline(few), pipeline_costs(few));
  for (size_t rank = 0; rank < found.size(); ++rank) {
    found[rank].peak_stashes = facts.ranks[rank].peak_stash_bytes;
    if (all > enough && spec.pipeline.schedule == PipelineSchedule::kGPipe) {
      found[rank].peak_stashes = found[rank].peak_stashes / enough * all;
    }
  }
}

std::vector<Stage> stages_of(const RunSpec& spec, Step step) {
  const PipelineSpec& pipeline = spec.pipeline;
  const bool one_by_one = pipeline.schedule == PipelineSchedule::kOneForwardOneBackward && pipeline.sequence_chunks == 1;
  if (spec.mesh.pipeline == 1 && (step == Step::kNone || one_by_one)) {
    return {whole_model(spec.model)};
  }
  const Placement placement = place_model(spec);
  std::vector<Stage> stages;
  for (int rank = 0; rank < placement.num_ranks; ++rank) {
    const std::vector<int> blocks = placement.blocks_of(rank);
    Stage stage;
    stage.has_embedding = blocks.front() == 0;
    stage.has_head = blocks.back() + 1 == placement.num_blocks();
    stage.num_layers = static_cast<int64_t>(blocks.size()) - (stage.has_embedding ? 1 : 0) - (stage.has_head ? 1 : 0);
    stage.blocks = blocks;
    stages.push_back(stage);
  }
  if (step == Step::kTraining) count_stashes(spec, stages);
  return stages;
}

// Of these, products read all but the norms, the biases and the embedding.
double matrices_of(const ModelSpec& model, const Stage& stage) {
  const double hidden = as_double(model.hidden_size), mlp = as_double(model.mlp_size), d = as_double(model.head_dim);
  const double q = as_double(model.num_heads) * d, kv = as_double(model.num_kv_heads) * d;
  return as_double(stage.num_layers) * (2 * hidden * (q + kv) + 3 * hidden * mlp) +
         (stage.has_head ? as_double(model.vocabulary_size) * hidden : 0);
}

double parameters_of(const ModelSpec& model, const Stage& stage) {
  const double hidden = as_double(model.hidden_size), d = as_double(model.head_dim);
  const double q = as_double(model.num_heads) * d, kv = as_double(model.num_kv_heads) * d;
  double block = 2 * hidden;
  if (model.bias == ModelSpec::Bias::kQkv) block += q + 2 * kv;
  if (model.qk_norm == ModelSpec::QkNorm::kYes) block += 2 * d;
  const bool again = stage.has_head && model.tie_embeddings == ModelSpec::Tie::kYes;  // the head's, which is counted
  const double table = stage.has_embedding && !again ? as_double(model.vocabulary_size) * hidden : 0;
  return matrices_of(model, stage) + as_double(stage.num_layers) * block + (stage.has_head ? hidden : 0) + table;
}

// Of a block's products: what is whole while it works, where ranks share the weights.
double largest_block(const ModelSpec& model, const Stage& stage) {
  Stage layer{.num_layers = std::min<int64_t>(1, stage.num_layers), .has_embedding = false, .has_head = false};
  const double table = as_double(model.vocabulary_size) * as_double(model.hidden_size);
  return std::max(matrices_of(model, layer), stage.has_embedding || stage.has_head ? table : 0);
}

[[noreturn]] void refuse_parameters(double num_parameters, double bytes, int64_t available_bytes) {
  raise(ErrorKind::kResource,
        "the {:.0f} parameters that a rank holds of the model need at least {:.1f} GB of memory on each rank, which has {:.1f} "
        "GB: share state among ranks (sharding.state), raise mesh.pipeline or mesh.tensor, lower model.num_layers, "
        "model.hidden_size, model.mlp_size or model.vocabulary_size, or start fewer ranks on each host",
        num_parameters, gigabytes(bytes), gigabytes(as_double(available_bytes)));
}

// The least degree of a tensor axis beyond this one that would hold the run, with heads that divide; 0: none.
int64_t enough_tensor_ranks(const RunSpec& spec, int64_t available_bytes, const Processor& processor) {
  for (int64_t degree = spec.mesh.tensor + 1; degree <= spec.model.num_heads; ++degree) {
    if (spec.model.num_heads % degree != 0 || !problem_of_tensor_degree(spec.model, static_cast<int>(degree)).empty()) continue;
    RunSpec other = spec;
    other.mesh.tensor = static_cast<int>(degree);
    const int exchanging = exchanging_ranks(spec.context.scheme, group_ranks(spec), spec.mesh.context);
    if (exchanging > spec.model.num_heads / degree) return 0;  // nor could a higher one
    if (fits(training_need(other, processor).total(), available_bytes)) return degree;
  }
  return 0;
}

// How many ranks with as much memory would hold the run, or which length these ranks hold. The need grows with the length but for
// what attention packs, which comes in windows; so a length somewhat longer may fit, too.
std::string what_would_fit(const RunSpec& spec, int64_t available_bytes, const Processor& processor) {
  const auto fits_with = [&](int64_t length, int64_t context) {
    RunSpec other = spec;
    other.data.sequence_length = length;
    if (context != spec.mesh.context) other.context = {};  // a ring, which works over any number of ranks
    other.mesh.context = static_cast<int>(context);
    return fits(training_need(other, processor).total(), available_bytes);
  };
  const int chunks = spec.pipeline.sequence_chunks;  // each has a token; with several, ranks cannot share a sequence
  const int64_t length = spec.data.sequence_length, context = spec.mesh.context, most_ranks = context + (1 << 16);
  const int64_t too_long = *std::ranges::partition_point(std::views::iota(int64_t{chunks}, std::max<int64_t>(length, chunks)),
                                                         [&](int64_t tokens) { return fits_with(tokens, context); });
  const int64_t enough = chunks > 1 ? most_ranks
                                    : *std::ranges::partition_point(std::views::iota(context, most_ranks),
                                                                    [&](int64_t ranks) { return !fits_with(length, ranks); });
  std::string text = too_long > chunks ? fmt::format("lower data.sequence_length to at most {}", too_long - 1)
                                       : std::string("lower model.num_layers or model.hidden_size, since no length fits");
  if (spec.global_batch_sequences > spec.mesh.data) {
    text += ", or lower training.micro_batch_sequences or global_batch_sequences";
  }
  const int64_t others = spec.mesh.product();
  const auto start = [](int64_t ranks) {
    return fmt::format(", or start at least {} ranks with as much memory each, as", ranks);
  };
  if (enough < most_ranks) {
    text += fmt::format("{} mesh.context {}{}", start(others / context * enough), enough,
                        spec.context.scheme == ContextScheme::kRing ? "" : " with context.scheme RING");
  }
  // A tensor axis moves more, so it is worth a word only where it needs fewer ranks.
  const int64_t tensor = enough_tensor_ranks(spec, available_bytes, processor), tensor_ranks = others / spec.mesh.tensor * tensor;
  if (tensor > 0 && (enough == most_ranks || tensor_ranks < others / context * enough)) {
    text += fmt::format("{} mesh.tensor {}", start(tensor_ranks), tensor);
  }
  return text;
}

// Of what ranks share, the buckets that are whole at a rank while it needs them, in bytes.
class OpenBuckets {
 public:
  OpenBuckets(const RunSpec& spec, const ModelSpec& held, const Stage& stage, const TokenBytes& b)
      : held_(held), b_(b), has_head_(stage.has_head), buckets_(held_buckets(spec, stage.blocks)) {
    gradients_ = shares(spec, RunSpec::Sharding::kGradients);
    values_ = shares(spec, RunSpec::Sharding::kWeights);
  }

  bool shares_values() const { return values_; }
  // Gradients that the loss has begun and blocks from here on have yet to add to; values of the block at work, the
  // head or the last layer, and of the one that backward comes to next.
  double at_block(int block) const {
    const int head = static_cast<int>(held_.num_layers) + 1;
    double bytes = 0;
    for (const std::vector<int>& bucket : buckets_) {
      const bool begun = has_head_ && reads(bucket, head) && (block == head || bucket.front() <= block);
      if (gradients_ && begun) bytes += b_.sum * elements_of(bucket);
      if (values_ && (reads(bucket, block) || reads(bucket, block - 1))) bytes += b_.compute * elements_of(bucket);
    }
    return bytes;
  }

 private:
  // A head whose table lies with the embedding reads that bucket, too.
  bool reads(const std::vector<int>& bucket, int block) const {
    const auto has = [&](int number) { return std::find(bucket.begin(), bucket.end(), number) != bucket.end(); };
    return has(block) || (block > held_.num_layers && held_.tie_embeddings == ModelSpec::Tie::kYes && has(0));
  }
  double elements_of(const std::vector<int>& bucket) const { return as_double(parameters_held(held_, bucket, 1, 0)); }

  const ModelSpec& held_;
  const TokenBytes& b_;
  bool has_head_;
  std::vector<std::vector<int>> buckets_;
  bool gradients_ = false, values_ = false;
};

// Where a bucket's gradients are summed over a tensor axis, what its ranks hold alike is there once more.
double summed_alike(const RunSpec& spec, const Stage& stage, const TokenBytes& b) {
  const auto alike = [&](const std::vector<int>& blocks) {
    return b.sum * as_double(parameters_held_alike(spec.model, blocks, spec.mesh.tensor));
  };
  if (spec.mesh.data * spec.mesh.context == 1) return alike(stage.blocks);
  double most = 0;
  for (const std::vector<int>& bucket : held_buckets(spec, stage.blocks)) most = std::max(most, alike(bucket));
  return most;
}

TrainingNeed need_of(const Stage& stage, const RunSpec& spec, const Processor& processor) {
  const ModelSpec held = evened(spec, KeyHeads::kHeld), seen = evened(spec, KeyHeads::kSeen);
  const TokenBytes b(spec, seen);
  const OpenBuckets open(spec, held, stage, b);
  const double length = as_double(spec.data.sequence_length), ranks = spec.mesh.context;
  // Of a microbatch, or of a chunk of its sequences, on one rank; of a step, on a whole ring.
  const double chunks = spec.pipeline.sequence_chunks;
  const double tokens = length * as_double(spec.micro_batch_sequences) / (ranks * chunks);
  const double all_tokens = length * as_double(spec.global_batch_sequences) / spec.mesh.data;
  TrainingNeed need;
  need.weights = parameters_of(held, stage) * training_bytes_per_parameter(spec);
  if (packs(spec, processor) && !open.shares_values()) need.weights += 2 * b.compute * matrices_of(held, stage);
  const SchemeBytes scheme = scheme_bytes(spec, b);
  // Once a last chunk has gone back, its stash is gone, and there are sums of gradients by the keys and values of those before.
  const double stash = stash_of_block(seen, b) + scheme.kept, stashes = as_double(stage.peak_stashes);
  const double layers = as_double(stage.num_layers);
  need.kept = tokens * std::max(stashes * stash, (stashes - layers) * stash + layers * (chunks - 1) * b.in_sums(b.kv));
  const bool has_layers = stage.num_layers > 0;
  const int last = stage.blocks.back(), last_layer = stage.has_head ? last - 1 : last;
  const double loss = stage.has_head ? at_work_in_loss(spec, b, processor, tokens) + open.at_block(last) : 0;
  const double open_layer = has_layers ? open.at_block(last_layer) : 0;
  const double mlp = has_layers ? at_work_in_mlp(b, tokens) + open_layer : 0;
  const double packed = has_layers ? packed_in_attention(spec, seen, processor, tokens) : 0;
  const double attention = has_layers ? at_work_in_attention(seen, b, tokens) + packed + open_layer : 0;
  const double context = has_layers ? tokens * scheme.in_pass : 0;
  need.at_work = std::max({loss, mlp, attention});
  if (attention + context >= need.at_work) {
    need.at_work = attention;
    need.context = context;
  }
  // A tensor axis shares the weights, and what blocks keep and work on.
  for (double* shared : {&need.weights, &need.kept, &need.at_work, &need.context}) *shared /= spec.mesh.tensor;
  need.at_work = std::max(need.at_work, summed_alike(spec, stage, b) - need.kept - need.context);
  // Id, target, rotary angles and loss; of each query, for every rank of the ring or chunk, the interval of keys that it sees:
  // on the host. A GPU has copies of some of them, which are not counted.
  const double tile = as_double(sizeof(KeyIntervals::Tile)) / as_double(KeyIntervals::kTileQueries);
  const double interval = processor.on_cpu() ? 8 + tile : 0;
  need.tables = all_tokens / ranks * (8 + b.sum * (as_double(spec.model.head_dim) + 1)) + all_tokens * chunks * interval;
  return need;
}

}  // namespace

// Gradient and two moments are sums, and the master, which is the value where the dtypes agree. What ranks share is divided;
// weights that are gathered for a layer, and gradients on their way into sums, come on top.
double training_bytes_per_parameter(const RunSpec& spec) {
  using Sharding = RunSpec::Sharding;
  const double value = as_double(static_cast<int64_t>(size_bytes(spec.compute_dtype)));
  const double sum = as_double(static_cast<int64_t>(size_bytes(accumulator(spec.compute_dtype))));
  const auto share = [&](Sharding state) { return ranks_that_share(spec, state); };
  return value / share(Sharding::kWeights) + sum / share(Sharding::kGradients) +
         (value == sum ? 2 : 3) * sum / share(Sharding::kOptimizer);
}

TrainingNeed training_need(const RunSpec& spec, const Processor& processor) {
  TrainingNeed most;
  for (const Stage& stage : stages_of(spec, Step::kTraining)) {
    const TrainingNeed need = need_of(stage, spec, processor);
    if (need.total() > most.total()) most = need;
  }
  return most;
}

void expect_room_for_parameters(int64_t num_parameters, double bytes_per_parameter, int64_t available_bytes) {
  const double bytes = as_double(num_parameters) * bytes_per_parameter;
  if (!fits(bytes, available_bytes)) refuse_parameters(as_double(num_parameters), bytes, available_bytes);
}

double inference_weight_bytes(const RunSpec& spec, const Processor& processor) {
  const ModelSpec held = evened(spec, KeyHeads::kHeld);
  const TokenBytes b(spec, held);
  const bool shares_weights = shares(spec, RunSpec::Sharding::kWeights);
  const double value = b.compute / ranks_that_share(spec, RunSpec::Sharding::kWeights);
  // Where the dtypes agree it is the value.
  const double master = b.sum == b.compute ? 0 : b.sum / ranks_that_share(spec, RunSpec::Sharding::kOptimizer);
  double most = 0;
  for (const Stage& stage : stages_of(spec, Step::kNone)) {
    const double packed = packs(spec, processor) && !shares_weights ? b.compute * matrices_of(held, stage) : 0;
    const double open = shares_weights ? b.compute * largest_block(held, stage) : 0;
    most = std::max(most, parameters_of(held, stage) * (master + value) + packed + open);
  }
  return most / spec.mesh.tensor;
}

void expect_room_for_inference(const RunSpec& spec, int64_t available_bytes, const Processor& processor) {
  const double bytes = inference_weight_bytes(spec, processor);
  if (!fits(bytes, available_bytes)) {
    const double mine = parameters_of(evened(spec, KeyHeads::kHeld), whole_model(spec.model)) /
                        (spec.mesh.tensor * spec.mesh.pipeline * ranks_that_share(spec, RunSpec::Sharding::kWeights));
    refuse_parameters(mine, bytes, available_bytes);
  }
}

void expect_room_for_batch(const RunSpec& spec, int64_t available_bytes, const Processor& processor) {
  const TrainingNeed need = training_need(spec, processor);
  if (fits(need.total(), available_bytes)) return;
  raise(ErrorKind::kResource,
        "data.sequence_length {}, training.micro_batch_sequences {} and training.global_batch_sequences {} need at "
        "least {:.1f} GB of memory on each rank (weights and optimizer {:.1f}, kept for backward {:.1f}, work of one "
        "layer {:.1f}, what the context axis moves {:.1f}, tables of tokens {:.1f}), which has {:.1f} GB: {}",
        spec.data.sequence_length, spec.micro_batch_sequences, spec.global_batch_sequences, gigabytes(need.total()),
        gigabytes(need.weights), gigabytes(need.kept), gigabytes(need.at_work), gigabytes(need.context),
        gigabytes(need.tables), gigabytes(as_double(available_bytes)), what_would_fit(spec, available_bytes, processor));
}

}  // namespace longspan
