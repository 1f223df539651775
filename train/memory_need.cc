#include "train/memory_need.h"

#include <algorithm>
#include <ranges>

#include "attention/kernels/block_attention.h"
#include "core/base/error.h"
#include "core/kernels/backends.h"

namespace longspan {

namespace {

double as_double(int64_t value) { return static_cast<double>(value); }
double gigabytes(double bytes) { return bytes / 1e9; }

bool fits(double bytes, int64_t available_bytes) { return available_bytes == 0 || bytes <= as_double(available_bytes); }

bool packs(const RunSpec& spec, const Processor& processor) {
  return processor.on_cpu() && cpu_packs(spec.compute_dtype, processor.level);
}

// Bytes of one token in each part of a decoder, in the compute dtype, and of one number in the dtype of sums.
struct TokenBytes {
  explicit TokenBytes(const RunSpec& spec)
      : compute(as_double(static_cast<int64_t>(size_bytes(spec.compute_dtype)))),
        sum(as_double(static_cast<int64_t>(size_bytes(accumulator(spec.compute_dtype))))),
        hidden(compute * as_double(spec.model.hidden_size)),
        q(compute * as_double(spec.model.num_heads) * as_double(spec.model.head_dim)),
        kv(2 * compute * as_double(spec.model.num_kv_heads) * as_double(spec.model.head_dim)),
        mlp(compute * as_double(spec.model.mlp_size)) {}
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
double packed_in_attention(const RunSpec& spec, const Processor& processor, double tokens) {
  if (!processor.on_cpu()) return 0;
  constexpr double kBeyondEveryWindow = 1 << 20;
  const auto queries = static_cast<int64_t>(std::clamp(tokens, 1.0, kBeyondEveryWindow));
  return as_double(cpu_attention_workspace_bytes(spec.compute_dtype, processor.level,
                                                 {.num_queries = queries,
                                                  .num_keys = queries,
                                                  .num_heads = spec.model.num_heads,
                                                  .num_kv_heads = spec.model.num_kv_heads,
                                                  .head_dim = spec.model.head_dim}));
}

// Received keys and values, of this hop and, from three ranks on, of the next; of their gradients what leaves and what
// arrives (this hop's contribution is among the gradients of attention).
double ring_buffers(int num_ranks, const TokenBytes& b, double tokens) {
  if (num_ranks == 1) return 0;
  return tokens * ((num_ranks > 2 ? 2 : 1) * b.kv + 2 * b.in_sums(b.kv));
}

// Of these, products read all but the norms, the biases and the embedding.
double matrices_of(const ModelSpec& model) {
  const double hidden = as_double(model.hidden_size), mlp = as_double(model.mlp_size), d = as_double(model.head_dim);
  const double q = as_double(model.num_heads) * d, kv = as_double(model.num_kv_heads) * d;
  return as_double(model.num_layers) * (2 * hidden * (q + kv) + 3 * hidden * mlp) +
         as_double(model.vocabulary_size) * hidden;
}

double parameters_of(const ModelSpec& model) {
  const double hidden = as_double(model.hidden_size), d = as_double(model.head_dim);
  const double q = as_double(model.num_heads) * d, kv = as_double(model.num_kv_heads) * d;
  double block = 2 * hidden;
  if (model.bias == ModelSpec::Bias::kQkv) block += q + 2 * kv;
  if (model.qk_norm == ModelSpec::QkNorm::kYes) block += 2 * d;
  const double table = model.tie_embeddings == ModelSpec::Tie::kYes ? 0 : as_double(model.vocabulary_size) * hidden;
  return matrices_of(model) + as_double(model.num_layers) * block + hidden + table;
}

[[noreturn]] void refuse_parameters(double num_parameters, double bytes, int64_t available_bytes) {
  raise(ErrorKind::kResource,
        "the {:.0f} parameters of the model need at least {:.1f} GB of memory on each rank, which has {:.1f} GB: lower "
        "model.num_layers, model.hidden_size, model.mlp_size or model.vocabulary_size, or start fewer ranks on each "
        "host",
        num_parameters, gigabytes(bytes), gigabytes(as_double(available_bytes)));
}

// How many ranks with as much memory would hold the run, or which length these ranks hold. The need grows with the length but for
// what attention packs, which comes in windows; so a length somewhat longer may fit, too.
std::string what_would_fit(const RunSpec& spec, int64_t available_bytes, const Processor& processor) {
  const auto fits_with = [&](int64_t length, int64_t context) {
    RunSpec other = spec;
    other.data.sequence_length = length;
    other.mesh.context = static_cast<int>(context);
    return fits(training_need(other, processor).total(), available_bytes);
  };
  const int64_t length = spec.data.sequence_length, context = spec.mesh.context, most_ranks = context + (1 << 16);
  const int64_t too_long = *std::ranges::partition_point(std::views::iota(int64_t{1}, length),
                                                         [&](int64_t tokens) { return fits_with(tokens, context); });
  const int64_t enough = *std::ranges::partition_point(std::views::iota(context, most_ranks),
                                                       [&](int64_t ranks) { return !fits_with(length, ranks); });
  std::string text = too_long > 1 ? fmt::format("lower data.sequence_length to at most {}", too_long - 1)
                                  : std::string("lower model.num_layers or model.hidden_size, since no length fits");
  if (spec.global_batch_sequences > spec.mesh.data) {
    text += ", or lower training.micro_batch_sequences or global_batch_sequences";
  }
  if (enough < most_ranks) {
    text += fmt::format(", or start at least {} ranks with as much memory each, as mesh.context {}",
                        enough * (spec.mesh.num_ranks() / context), enough);
  }
  return text;
}

}  // namespace

TrainingNeed training_need(const RunSpec& spec, const Processor& processor) {
  const TokenBytes b(spec);
  const double length = as_double(spec.data.sequence_length), ranks = spec.mesh.context;
  // Of a microbatch, on one rank; of a step, on a whole ring.
  const double tokens = length * as_double(spec.micro_batch_sequences) / ranks;
  const double all_tokens = length * as_double(spec.global_batch_sequences) / spec.mesh.data;
  TrainingNeed need;
  // Gradient and two moments are sums, and the master, which is the value where the dtypes agree. What ranks share is divided; weights
  // that are gathered for a layer, and gradients on their way into sums, come on top.
  using Sharding = RunSpec::Sharding;
  const auto share = [&](Sharding state) { return spec.sharding < state ? 1 : static_cast<double>(spec.mesh.data) * ranks; };
  const bool own_masters = b.sum != b.compute;
  need.weights = parameters_of(spec.model) * (b.sum / share(Sharding::kGradients) + b.compute / share(Sharding::kWeights) +
                                              (own_masters ? 3 : 2) * b.sum / share(Sharding::kOptimizer));
  if (packs(spec, processor) && share(Sharding::kWeights) == 1) need.weights += 2 * b.compute * matrices_of(spec.model);
  need.kept = tokens * as_double(spec.model.num_layers) * stash_of_block(spec.model, b);
  const double loss = at_work_in_loss(spec, b, processor, tokens), mlp = at_work_in_mlp(b, tokens);
  const double attention = at_work_in_attention(spec.model, b, tokens) + packed_in_attention(spec, processor, tokens);
  const double ring = ring_buffers(spec.mesh.context, b, tokens);
  need.at_work = std::max({loss, mlp, attention});
  if (attention + ring >= need.at_work) {
    need.at_work = attention;
    need.ring = ring;
  }
  // A tensor axis shares the weights, and what blocks keep and work on; of heads and pieces that do not divide some ranks have more.
  for (double* shared : {&need.weights, &need.kept, &need.at_work, &need.ring}) *shared /= spec.mesh.tensor;
  // Id, target, rotary angles and loss; of each query, for every rank of the ring, the interval of keys that it sees: on the host. A
  // GPU has copies of some of them, which are not counted.
  const double interval = !processor.on_cpu() ? 0 : 8 + as_double(sizeof(KeyIntervals::Tile)) / as_double(KeyIntervals::kTileQueries);
  need.tables = all_tokens / ranks * (8 + b.sum * (as_double(spec.model.head_dim) + 1)) + all_tokens * interval;
  return need;
}

int64_t training_bytes_per_parameter(const RunSpec& spec) {
  using Sharding = RunSpec::Sharding;
  int64_t shared = 0;
  for (const auto& [state, bytes] : {std::pair{Sharding::kOptimizer, 8}, {Sharding::kGradients, 4}, {Sharding::kWeights, 4}}) {
    if (spec.sharding >= state) shared += bytes;
  }
  constexpr int64_t kAll = 16;
  return kAll - shared + shared / (int64_t{spec.mesh.data} * spec.mesh.context);
}

void expect_room_for_parameters(int64_t num_parameters, int64_t bytes_per_parameter, int64_t available_bytes) {
  const double bytes = as_double(num_parameters) * as_double(bytes_per_parameter);
  if (!fits(bytes, available_bytes)) refuse_parameters(as_double(num_parameters), bytes, available_bytes);
}

double inference_weight_bytes(const RunSpec& spec, const Processor& processor) {
  const TokenBytes b(spec);
  const double value = b.sum == b.compute ? 0 : b.compute;  // else it is the master
  const double packed = packs(spec, processor) ? b.compute * matrices_of(spec.model) : 0;
  return (parameters_of(spec.model) * (b.sum + value) + packed) / spec.mesh.tensor;
}

void expect_room_for_inference(const RunSpec& spec, int64_t available_bytes, const Processor& processor) {
  const double bytes = inference_weight_bytes(spec, processor);
  if (!fits(bytes, available_bytes)) refuse_parameters(parameters_of(spec.model), bytes, available_bytes);
}

void expect_room_for_batch(const RunSpec& spec, int64_t available_bytes, const Processor& processor) {
  const TrainingNeed need = training_need(spec, processor);
  if (fits(need.total(), available_bytes)) return;
  raise(ErrorKind::kResource,
        "data.sequence_length {}, training.micro_batch_sequences {} and training.global_batch_sequences {} need at "
        "least {:.1f} GB of memory on each rank (weights and optimizer {:.1f}, kept for backward {:.1f}, work of one "
        "layer {:.1f}, ring {:.1f}, tables of tokens {:.1f}), which has {:.1f} GB: {}",
        spec.data.sequence_length, spec.micro_batch_sequences, spec.global_batch_sequences, gigabytes(need.total()),
        gigabytes(need.weights), gigabytes(need.kept), gigabytes(need.at_work), gigabytes(need.ring),
        gigabytes(need.tables), gigabytes(as_double(available_bytes)), what_would_fit(spec, available_bytes, processor));
}

}  // namespace longspan
