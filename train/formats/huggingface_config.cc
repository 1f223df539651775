#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "train/formats/huggingface.h"
#include "train/formats/huggingface_rope.h"
#include "train/formats/json_object.h"
#include "train/formats/mapped_file.h"

namespace longspan {

namespace {

constexpr std::array<std::string_view, 4> kModelTypes = {"llama", "mistral", "qwen2", "qwen3"};
constexpr size_t kLargestFile = size_t{16} << 20;

std::string read_model_type(const JsonObject& config) {
  const auto type = config.optional_text("model_type");
  if (!type) raise(ErrorKind::kCheckpoint, "{}: model_type is missing", config.path());
  if (std::find(kModelTypes.begin(), kModelTypes.end(), *type) == kModelTypes.end()) {
    config.refuse("model_type", "not supported; llama, mistral, qwen2 and qwen3 are");
  }
  return *type;
}

// Where a file leaves a key out, transformers takes the default of the model's own class, and so do we.
void read_sizes(const JsonObject& config, const std::string& type, ModelSpec& spec) {
  spec.vocabulary_size = config.integer("vocab_size");
  spec.hidden_size = config.integer("hidden_size");
  spec.num_layers = config.integer("num_hidden_layers");
  spec.num_heads = config.integer("num_attention_heads");
  spec.mlp_size = config.integer("intermediate_size");
  const auto kv_heads = config.optional_integer("num_key_value_heads");
  if (!kv_heads && type != "llama") {
    raise(ErrorKind::kCheckpoint, "{}: num_key_value_heads is missing", config.path());
  }
  spec.num_kv_heads = kv_heads.value_or(spec.num_heads);
  if (spec.num_heads % spec.num_kv_heads != 0) {
    config.refuse("num_key_value_heads",
                  fmt::format("it should divide num_attention_heads, {}", spec.num_heads));
  }
  const auto head_dim = config.optional_integer("head_dim");
  if (!head_dim && type != "qwen3" && spec.hidden_size % spec.num_heads != 0) {
    config.refuse("hidden_size",
                  fmt::format("without head_dim, num_attention_heads, {}, should divide it", spec.num_heads));
  }
  spec.head_dim = head_dim ? *head_dim : type == "qwen3" ? 128 : spec.hidden_size / spec.num_heads;
  if (spec.head_dim % 2 != 0) {
    raise(ErrorKind::kCheckpoint, "{}: head_dim is {}; the rotary embedding needs an even number",
          config.path(), spec.head_dim);
  }
  spec.norm_epsilon = config.optional_positive_number("rms_norm_eps").value_or(1e-6);
  spec.initializer_range = config.optional_positive_number("initializer_range").value_or(0.02);
  spec.tie_embeddings = config.flag("tie_word_embeddings") ? ModelSpec::Tie::kYes : ModelSpec::Tie::kNo;
}

void read_biases_and_norms(const JsonObject& config, const std::string& type, ModelSpec& spec) {
  // The key changes nothing in Qwen2: query, key and value have biases, the output projection has none.
  if (type != "qwen2" && config.flag("attention_bias")) {
    config.refuse("attention_bias", "the output projection would have a bias too, which is not supported");
  }
  if (config.flag("mlp_bias")) config.refuse("mlp_bias", "biases in the MLP are not supported");
  spec.bias = type == "qwen2" ? ModelSpec::Bias::kQkv : ModelSpec::Bias::kNone;
  spec.qk_norm = type == "qwen3" ? ModelSpec::QkNorm::kYes : ModelSpec::QkNorm::kNo;
}

void refuse_sliding_window(const JsonObject& config, const std::string& type) {
  const bool qwen = type == "qwen2" || type == "qwen3";
  if (config.flag("use_sliding_window")) {
    config.refuse("use_sliding_window", "attention in sliding windows is not supported");
  }
  if (!qwen && config.has("sliding_window")) {
    config.refuse("sliding_window", "attention in sliding windows is not supported");
  }
  if (type == "mistral" && !config.mentions("sliding_window")) {
    raise(ErrorKind::kCheckpoint,
          "{}: sliding_window is missing, which for mistral means 4096; attention in sliding windows is not "
          "supported. "
          "Write null where the model has none",
          config.path());
  }
  for (const std::string& layer : config.texts("layer_types")) {
    if (layer != "full_attention")
      config.refuse("layer_types", fmt::format("layers of type '{}' are not supported", shown(layer)));
  }
}

void refuse_others(const JsonObject& config) {
  if (config.optional_text("hidden_act").value_or("silu") != "silu") {
    config.refuse("hidden_act", "not supported; silu is");
  }
  if (config.optional_number("attention_dropout").value_or(0) != 0) {
    config.refuse("attention_dropout", "dropout is not supported");
  }
  if (config.has("quantization_config"))
    config.refuse("quantization_config", "quantized weights are not supported");
}

}  // namespace

HuggingFaceConfig parse_huggingface_config(const std::string& text, const std::string& path) {
  const nlohmann::json root = parse_json_object(text, path);
  const JsonObject config(root, path, "");
  HuggingFaceConfig result;
  result.model_type = read_model_type(config);
  read_sizes(config, result.model_type, result.spec);
  read_biases_and_norms(config, result.model_type, result.spec);
  refuse_sliding_window(config, result.model_type);
  refuse_others(config);
  result.spec.rope = read_huggingface_rope(config);
  result.max_positions = config.optional_integer("max_position_embeddings").value_or(0);
  return result;
}

HuggingFaceConfig read_huggingface_config(const std::string& folder) {
  const MappedFile file(folder + "/config.json", ErrorKind::kCheckpoint);
  if (file.size_bytes() > kLargestFile) {
    raise(ErrorKind::kCheckpoint, "{} has {} bytes; {} is the most", file.path(), file.size_bytes(),
          kLargestFile);
  }
  return parse_huggingface_config({reinterpret_cast<const char*>(file.bytes().data()), file.size_bytes()},
                                  file.path());
}

}  // namespace longspan
