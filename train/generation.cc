// Sampling with a key-value cache; declared in train/train.h.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/base/random.h"
#include "model/decoder.h"
#include "parallel/comm/backends.h"
#include "train/memory_need.h"
#include "train/model_state.h"
#include "train/rank_context.h"
#include "train/train.h"

namespace longspan {

namespace {

constexpr int64_t kPrefillTokens = 512;  // of the prompt at a time, so that its activations stay small

std::vector<int32_t> prompt_tokens(const RunSpec& spec) {
  std::vector<int32_t> tokens = spec.generation.prompt_tokens;
  for (const char c : spec.generation.prompt) tokens.push_back(static_cast<unsigned char>(c));
  if (tokens.empty()) raise(ErrorKind::kConfiguration, "generation.prompt: a prompt of at least one token is needed");
  for (const int32_t token : tokens) {
    if (token < 0 || token >= spec.model.vocabulary_size) {
      raise(ErrorKind::kConfiguration, "generation: token {} is outside the vocabulary of {}", token,
            spec.model.vocabulary_size);
    }
  }
  return tokens;
}

std::vector<double> as_doubles(const Tensor& logits) {
  std::vector<double> values(static_cast<size_t>(logits.size(0)));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = logits.dtype() == DType::kFloat64 ? logits.data<double>()[i] : logits.data<float>()[i];
    if (!std::isfinite(values[i])) {
      raise(ErrorKind::kNumerical, "the model's logit of token {} is {}: its weights are not usable", i, values[i]);
    }
  }
  return values;
}

// Draws from softmax(logits / temperature) over the top_k likeliest; ties and temperature 0 go to the lowest id.
int32_t draw(const std::vector<double>& logits, const GenerationSpec& spec, double uniform) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  if (spec.temperature <= 0) return order.front();
  if (spec.top_k > 0 && spec.top_k < static_cast<int64_t>(order.size())) order.resize(static_cast<size_t>(spec.top_k));
  const double top = logits[static_cast<size_t>(order.front())];
  std::vector<double> cumulative;
  double sum = 0;
  for (const int32_t token : order) {
    cumulative.push_back(sum += std::exp((logits[static_cast<size_t>(token)] - top) / spec.temperature));
  }
  const auto it = std::upper_bound(cumulative.begin(), cumulative.end(), uniform * sum);
  return order[std::min(static_cast<size_t>(it - cumulative.begin()), order.size() - 1)];
}

Tensor as_tensor(const Context& context, std::span<const int32_t> tokens) {
  Tensor t = context.host().empty({static_cast<int64_t>(tokens.size())}, DType::kInt32);
  std::memcpy(t.raw(), tokens.data(), tokens.size_bytes());
  return context.to_device(t);
}

}  // namespace

std::vector<int32_t> generate(const RunSpec& spec, const RankResources& resources,
                              const std::function<void(int32_t)>& emit) {
  const std::vector<int32_t> prompt = prompt_tokens(spec);
  RankContext rank(spec.compute_dtype, resources);
  Context& context = rank.context();
  const auto alone = make_self_communicator();
  Decoder decoder(spec.model, *alone, spec.loss_tile_tokens);
  const ProcessMesh mesh(*alone, {});
  check_weights(context, spec, mesh);
  RunSpec whole = spec;
  whole.mesh = {};
  expect_room_for_inference(whole, resources.memory_bytes, resources.processor());
  decoder.parameters().materialize(context, ParameterSet::Purpose::kInference);
  TrainObserver silent;
  load_for_inference(context, spec, mesh, decoder.parameters(), silent);

  const auto length = static_cast<int64_t>(prompt.size());
  auto memories = decoder.empty_memories(context, length + spec.generation.max_tokens);
  Tensor logits;
  for (int64_t begin = 0; begin < length; begin += kPrefillTokens) {
    const int64_t n = std::min(kPrefillTokens, length - begin);
    logits = decoder.continue_from(
        context, as_tensor(context, std::span(prompt).subspan(static_cast<size_t>(begin), static_cast<size_t>(n))),
        memories);
  }
  const RandomStream random(spec.seed, "generation");
  std::vector<int32_t> tokens;
  while (static_cast<int64_t>(tokens.size()) < spec.generation.max_tokens) {
    if (!tokens.empty()) logits = decoder.continue_from(context, as_tensor(context, {&tokens.back(), 1}), memories);
    tokens.push_back(draw(as_doubles(context.to_host(logits)), spec.generation, random.uniform(tokens.size())));
    emit(tokens.back());
  }
  return tokens;
}

}  // namespace longspan
