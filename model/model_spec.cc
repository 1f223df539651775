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
