#include "model/model_spec.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace longspan {

namespace {

using Problems = std::vector<FieldProblem>;

void expect_positive(const char* field, int64_t value, Problems& problems) {
  if (value < 1) problems.push_back({field, fmt::format("is {}; it must be at least 1", value)});
}

void expect_finite_positive(const char* field, double value, Problems& problems) {
  if (std::isfinite(value) && value > 0) return;
  problems.push_back({field, fmt::format("is {}; it must be a finite number above 0", value)});
}

// `lower` must be positive and below `value`.
void expect_above(const char* field, double value, const char* lower_name, double lower, Problems& problems) {
  if (value > lower && lower > 0) return;
  problems.push_back({field, fmt::format("is {}, not above {} {}, which must be above 0", value, lower_name, lower)});
}

void find_problems(const RopeSpec& rope, Problems& problems) {
  expect_finite_positive("rope.theta", rope.theta, problems);
  if (rope.scaling == RopeScalingType::kNone) return;
  expect_finite_positive("rope.scaling.factor", rope.factor, problems);
  expect_positive("rope.scaling.original_max_positions", rope.original_max_positions, problems);
  if (rope.scaling == RopeScalingType::kYarn) {
    expect_above("rope.scaling.beta_fast", rope.beta_fast, "beta_slow", rope.beta_slow, problems);
  }
  if (rope.scaling == RopeScalingType::kLlama3) {
    expect_above("rope.scaling.high_frequency_factor", rope.high_frequency_factor, "low_frequency_factor",
                 rope.low_frequency_factor, problems);
  }
}

}  // namespace

std::vector<FieldProblem> problems_of(const ModelSpec& spec) {
  Problems problems;
  expect_positive("vocabulary_size", spec.vocabulary_size, problems);
  expect_positive("hidden_size", spec.hidden_size, problems);
  expect_positive("num_layers", spec.num_layers, problems);
  expect_positive("num_heads", spec.num_heads, problems);
  expect_positive("num_kv_heads", spec.num_kv_heads, problems);
  expect_positive("head_dim", spec.head_dim, problems);
  expect_positive("mlp_size", spec.mlp_size, problems);
  expect_finite_positive("norm_epsilon", spec.norm_epsilon, problems);
  expect_finite_positive("initializer_range", spec.initializer_range, problems);
  if (spec.num_kv_heads > 0 && spec.num_heads % spec.num_kv_heads != 0) {
    problems.push_back(
        {"num_kv_heads", fmt::format("is {}, which does not divide model.num_heads {}", spec.num_kv_heads, spec.num_heads)});
  }
  if (spec.head_dim % 2 != 0) {
    problems.push_back(
        {"head_dim", fmt::format("is {}; the rotary embedding turns pairs, so it must be even", spec.head_dim)});
  }
  constexpr int64_t kMostTokens = int64_t{1} << 31;  // token ids are int32
  if (spec.vocabulary_size >= kMostTokens) {
    problems.push_back({"vocabulary_size", fmt::format("is {}; it must be below {}", spec.vocabulary_size, kMostTokens)});
  }
  find_problems(spec.rope, problems);
  return problems;
}

void validate(const ModelSpec& spec) {
  const std::vector<FieldProblem> problems = problems_of(spec);
  if (problems.empty()) return;
  raise(ErrorKind::kConfiguration, "model.{}: {}", problems.front().field, problems.front().what);
}

int64_t max_tensor_degree(const ModelSpec& spec) { return std::min({spec.num_heads, spec.mlp_size, spec.vocabulary_size}); }

std::string problem_of_tensor_degree(const ModelSpec& spec, int64_t degree) {
  const int64_t most = max_tensor_degree(spec);
  if (degree <= most) return "";
  return fmt::format(
      "is {}, more than can share this model's {} heads, {} inner columns and {} entries of the vocabulary; the nearest that "
      "works "
      "is {}",
      degree, spec.num_heads, spec.mlp_size, spec.vocabulary_size, most);
}

namespace {

double real(int64_t n) { return static_cast<double>(n); }

// Parameters that multiply in one layer.
double products_of_layer(const ModelSpec& spec) {
  const double attention = real(spec.hidden_size) * real(spec.head_dim) * real(2 * spec.num_heads + 2 * spec.num_kv_heads);
  return attention + 3 * real(spec.hidden_size) * real(spec.mlp_size);
}

}  // namespace

double training_flop(const ModelSpec& spec, double tokens, double pairs) {
  const double products = real(spec.num_layers) * products_of_layer(spec) + real(spec.vocabulary_size) * real(spec.hidden_size);
  return 3 * (2 * products * tokens + 4 * pairs * real(spec.num_layers) * real(spec.num_heads) * real(spec.head_dim));
}

std::vector<BlockFlop> block_flop(const ModelSpec& spec, double tokens, double pairs) {
  const double products = 2 * products_of_layer(spec) * tokens;
  const double attention = 4 * pairs * real(spec.num_heads) * real(spec.head_dim);
  const BlockFlop layer = {.forward = products + attention,
                           .backward_input = products + 2 * attention,
                           .backward_weight = products};
  std::vector<BlockFlop> blocks(static_cast<size_t>(num_blocks(spec)), layer);
  blocks.front() = {};
  blocks.back() = {.forward = 3 * 2 * real(spec.vocabulary_size) * real(spec.hidden_size) * tokens};
  return blocks;
}

std::string to_string(const ModelSpec& spec) {
  const RopeSpec& rope = spec.rope;
  std::string text = fmt::format(
      "vocabulary_size {} hidden_size {} num_layers {} num_heads {} num_kv_heads {} head_dim {} mlp_size {} norm_epsilon {} "
      "tie_embeddings {} qkv_bias {} qk_norm {} rope.theta {}",
      spec.vocabulary_size, spec.hidden_size, spec.num_layers, spec.num_heads, spec.num_kv_heads, spec.head_dim,
      spec.mlp_size, spec.norm_epsilon, spec.tie_embeddings == ModelSpec::Tie::kYes, spec.bias == ModelSpec::Bias::kQkv,
      spec.qk_norm == ModelSpec::QkNorm::kYes, rope.theta);
  if (rope.scaling == RopeScalingType::kNone) return text;
  constexpr const char* kNames[] = {"NONE", "LINEAR", "NTK", "YARN", "LLAMA3"};
  text += fmt::format(" rope.scaling {} factor {}", kNames[static_cast<int>(rope.scaling)], rope.factor);
  if (rope.scaling == RopeScalingType::kYarn) {
    text += fmt::format(" original_max_positions {} beta_fast {} beta_slow {} attention_factor {}",
                        rope.original_max_positions, rope.beta_fast, rope.beta_slow, rope.attention_factor);
  }
  if (rope.scaling == RopeScalingType::kLlama3) {
    text += fmt::format(" original_max_positions {} low_frequency_factor {} high_frequency_factor {}",
                        rope.original_max_positions, rope.low_frequency_factor, rope.high_frequency_factor);
  }
  return text;
}

}  // namespace longspan
