#include "model/model_spec.h"

#include <cmath>

#include "core/base/error.h"

namespace longspan {

namespace {

void positive(const char* field, int64_t value) {
  if (value < 1) raise(ErrorKind::kConfiguration, "model.{}: {} must be at least 1", field, value);
}

void finite_positive(const char* field, double value) {
  if (!std::isfinite(value) || value <= 0) {
    raise(ErrorKind::kConfiguration, "model.{}: {} must be a finite number above 0", field, value);
  }
}

void validate(const RopeSpec& rope) {
  finite_positive("rope.theta", rope.theta);
  if (rope.scaling == RopeScalingType::kNone) return;
  finite_positive("rope.scaling.factor", rope.factor);
  positive("rope.scaling.original_max_positions", rope.original_max_positions);
  if (rope.scaling == RopeScalingType::kYarn && !(rope.beta_fast > rope.beta_slow && rope.beta_slow > 0)) {
    raise(ErrorKind::kConfiguration, "model.rope.scaling: beta_fast {} must be above beta_slow {}, both above 0",
          rope.beta_fast, rope.beta_slow);
  }
  if (rope.scaling == RopeScalingType::kLlama3 &&
      !(rope.high_frequency_factor > rope.low_frequency_factor && rope.low_frequency_factor > 0)) {
    raise(ErrorKind::kConfiguration,
          "model.rope.scaling: high_frequency_factor {} must be above low_frequency_factor {}, both above 0",
          rope.high_frequency_factor, rope.low_frequency_factor);
  }
}

}  // namespace

void validate(const ModelSpec& spec) {
  positive("vocabulary_size", spec.vocabulary_size);
  positive("hidden_size", spec.hidden_size);
  positive("num_layers", spec.num_layers);
  positive("num_heads", spec.num_heads);
  positive("num_kv_heads", spec.num_kv_heads);
  positive("head_dim", spec.head_dim);
  positive("mlp_size", spec.mlp_size);
  finite_positive("norm_epsilon", spec.norm_epsilon);
  finite_positive("initializer_range", spec.initializer_range);
  if (spec.num_heads % spec.num_kv_heads != 0) {
    raise(ErrorKind::kConfiguration, "model.num_kv_heads: {} must divide model.num_heads, {}", spec.num_kv_heads,
          spec.num_heads);
  }
  if (spec.head_dim % 2 != 0) {
    raise(ErrorKind::kConfiguration, "model.head_dim: {} must be even, for the rotary embedding", spec.head_dim);
  }
  constexpr int64_t kMostTokens = int64_t{1} << 31;  // token ids are int32
  if (spec.vocabulary_size >= kMostTokens) {
    raise(ErrorKind::kConfiguration, "model.vocabulary_size: {} must be below {}", spec.vocabulary_size, kMostTokens);
  }
  validate(spec.rope);
}

int64_t num_parameters(const ModelSpec& spec) {
  const int64_t table = spec.vocabulary_size * spec.hidden_size;
  const int64_t biases = spec.bias == ModelSpec::Bias::kQkv ? (spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim : 0;
  const int64_t norms = 2 * spec.hidden_size + (spec.qk_norm == ModelSpec::QkNorm::kYes ? 2 * spec.head_dim : 0);
  const int64_t tables = spec.tie_embeddings == ModelSpec::Tie::kYes ? 0 : table;
  return tables + num_multiplying_parameters(spec) + spec.num_layers * (biases + norms) + spec.hidden_size;
}

int64_t num_multiplying_parameters(const ModelSpec& spec) {
  const int64_t attention = spec.hidden_size * spec.head_dim * 2 * (spec.num_heads + spec.num_kv_heads);
  const int64_t mlp = 3 * spec.hidden_size * spec.mlp_size;
  return spec.num_layers * (attention + mlp) + spec.vocabulary_size * spec.hidden_size;
}

}  // namespace longspan
