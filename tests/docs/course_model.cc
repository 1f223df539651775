// What a block keeps for its backward, what a batch holds, what a step does, in which order the data come.
#include <fmt/core.h>

#include <cmath>
#include <iostream>
#include <set>

#include "attention/ring_attention.h"
#include "core/kernels/loss.h"
#include "parallel/comm/backends.h"
#include "parallel/pipeline/program.h"
#include "tests/docs/course.h"
#include "tests/support/reference_context.h"
#include "train/batch.h"
#include "train/data/document_stream.h"
#include "train/data/sequence_order.h"

namespace longspan::course {

namespace {

// The model of configs/quickstart.textproto.
ModelSpec quickstart_model() {
  ModelSpec spec;
  spec.num_kv_heads = 2;
  return spec;
}

DecoderBlockParameters block_parameters(ParameterSet& parameters, const ModelSpec& spec) {
  const auto matrix = [&](const char* name, int64_t out, int64_t in) {
    return &parameters.add(name, {out, in}, Initialization::kNormal);
  };
  const int64_t hidden = spec.hidden_size, q = spec.num_heads * spec.head_dim, kv = spec.num_kv_heads * spec.head_dim;
  DecoderBlockParameters p;
  p.attention_norm = &parameters.add("attention_norm", {hidden}, Initialization::kOnes);
  p.mlp_norm = &parameters.add("mlp_norm", {hidden}, Initialization::kOnes);
  p.attention = {.q = matrix("q", q, hidden), .k = matrix("k", kv, hidden), .v = matrix("v", kv, hidden),
                 .o = matrix("o", hidden, q)};
  p.gate = matrix("gate", spec.mlp_size, hidden);
  p.up = matrix("up", spec.mlp_size, hidden);
  p.down = matrix("down", hidden, spec.mlp_size);
  return p;
}

// One sequence with documents of these lengths; token i is i.
TokenSequence counting_sequence(const Words& words, size_t first) {
  TokenSequence sequence;
  for (size_t i = first; i < words.size(); ++i) {
    const int64_t length = number(words, i, "the length of a document", 1);
    const auto begin = static_cast<int64_t>(sequence.tokens.size());
    sequence.documents.push_back({.begin = begin, .length = length, .document = static_cast<int64_t>(i - first)});
    for (int64_t t = 0; t < length; ++t) sequence.tokens.push_back(static_cast<int32_t>(begin + t));
  }
  if (sequence.tokens.empty()) raise(ErrorKind::kConfiguration, "the lengths of the documents are missing");
  return sequence;
}

}  // namespace

void print_stash(const Words& words) {
  const int64_t num_tokens = number(words, 0, "the number of tokens", 1);
  Context context = test::make_context(DType::kFloat32);
  const ModelSpec spec = quickstart_model();
  const auto alone = make_self_communicator();
  ParameterSet parameters;
  const RingAttention attention(*alone, score_scale(spec));
  const DecoderBlock block(spec, block_parameters(parameters, spec), {.attention = attention, .tensor = *alone});
  parameters.materialize(context, ParameterSet::Purpose::kTraining);
  parameters.initialize(context, 1, spec.initializer_range);
  TokenSequence sequence{.tokens = std::vector<int32_t>(static_cast<size_t>(num_tokens)),
                         .documents = {{.begin = 0, .length = num_tokens, .document = 0}}};
  const Microbatch batch = make_microbatch(context, spec, {}, {sequence});
  DecoderBlock::Stash stash;
  block.forward(context, context.zeros({num_tokens, spec.hidden_size}, DType::kFloat32), batch.shard, &stash);

  const AttentionLayer::Stash& a = stash.attention;
  const std::pair<const char*, Tensor> tensors[] = {
      {"attention_norm.x", stash.attention_norm.x},
      {"attention_norm.inverse_rms", stash.attention_norm.inverse_rms},
      {"attention.qkv.x", a.qkv.x},
      {"attention.attention.q", a.attention.q},
      {"attention.attention.k", a.attention.k},
      {"attention.attention.v", a.attention.v},
      {"attention.attention.output", a.attention.output},
      {"attention.attention.lse", a.attention.lse},
      {"attention.o.x", a.o.x},
      {"mlp_norm.x", stash.mlp_norm.x},
      {"mlp_norm.inverse_rms", stash.mlp_norm.inverse_rms},
      {"mlp.inner_linear.x", stash.mlp.inner_linear.x},
      {"mlp.gate", stash.mlp.gate},
      {"mlp.up", stash.mlp.up},
      {"mlp.down_linear.x", stash.mlp.down_linear.x},
  };
  std::set<const void*> seen;
  size_t sum = 0;
  for (const auto& [what, tensor] : tensors) {
    const bool first = seen.insert(tensor.storage_id()).second;
    if (first) sum += tensor.storage_bytes();
    std::cout << fmt::format("{:<27} {:<15} {}\n", what, tensor.shape().to_string(),
                             first ? fmt::format("{:>9}", tensor.storage_bytes()) : "   shared");
  }
  std::cout << fmt::format("{:<27} {:<15} {:>9}\n", "bytes in all", "", sum);
}

void print_batch(const Words& words) {
  const int64_t num_ranks = number(words, 1, "the number of ranks", 1), rank = number(words, 2, "the rank", 0);
  const TokenSequence sequence = counting_sequence(words, 3);
  const auto length = static_cast<int64_t>(sequence.tokens.size());
  ModelSpec spec;
  spec.head_dim = 2;  // one pair of frequency 1: the angle is the position
  const Context context = test::make_context(DType::kFloat64);
  const ContextShare share = {
      .layout = layout(words, 0), .num_ranks = static_cast<int>(num_ranks), .rank = static_cast<int>(rank)};
  const auto places = indices(SequenceLayout(share.layout, share.num_ranks, length, 1).ranges(share.rank));
  const Microbatch batch = make_microbatch(context, spec, share, {sequence});
  std::cout << "slot  index  document  position  token  target\n";
  for (size_t slot = 0; slot < places.size(); ++slot) {
    const int64_t index = places[slot];
    size_t d = sequence.documents.size() - 1;
    while (sequence.documents[d].begin > index) --d;
    const int64_t position = index - sequence.documents[d].begin;
    check(batch.shard.rotary.cosine.view<double, 2>()(slot, 0) == std::cos(static_cast<double>(position)),
          "slot {} is not turned to position {}", slot, position);
    const int32_t target = batch.targets.data<int32_t>()[slot];
    std::cout << fmt::format("{:>4}  {:>5}  {:>8}  {:>8}  {:>5}  {:>6}\n", slot, index, d, position,
                             batch.tokens.data<int32_t>()[slot], target == kNoTarget ? "-" : std::to_string(target));
  }
}

void print_program(const Words& words) {
  const auto num_microbatches = static_cast<int>(number(words, 0, "the number of microbatches", 1));
  const int num_blocks = static_cast<int>(number(words, 1, "the number of layers", 1)) + 2;
  const Program program = single_stage_program(num_microbatches, num_blocks);
  for (const Action& action : program) std::cout << action.to_string() << '\n';
  std::cout << fmt::format("at most {} stashes at once\n", verify(program, num_microbatches, num_blocks).peak_stashes);
}

void print_stream(const Words& words) {
  const auto seed = static_cast<uint64_t>(number(words, 0, "the seed", 0));
  const int64_t length = number(words, 1, "the length of a sequence", 1);
  const int64_t num_sequences = number(words, 2, "the number of sequences", 1);
  std::vector<int64_t> lengths;
  for (size_t i = 3; i < words.size(); ++i) lengths.push_back(number(words, i, "the length of a document", 1));
  if (lengths.empty()) raise(ErrorKind::kConfiguration, "the lengths of the documents are missing");
  const std::string name = "data/source 0";  // as train/data/dataset.cc calls the first one
  const DocumentStream stream(lengths, 0, DocumentStream::Shuffle::kEveryEpoch, seed, name);
  const SequenceOrder order((stream.num_tokens() - 1) / length + 1, seed, name);
  for (int64_t n = 0; n < num_sequences; ++n) {
    const int64_t place = order(n);
    std::cout << fmt::format("sequence {} is cut {} of the stream:", n, place);
    for (const DocumentPiece& piece : stream.pieces(place * length, length)) {
      std::cout << fmt::format("  {}[{}, {})", static_cast<char>('A' + piece.document), piece.offset,
                               piece.offset + piece.length);
    }
    std::cout << '\n';
  }
}

}  // namespace longspan::course
