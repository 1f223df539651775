#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/base/random.h"
#include "tests/train/data_fixture.h"
#include "train/formats/huggingface.h"

namespace longspan {
namespace {

using nlohmann::json;
using test::expect_error;
using test::Folder;

constexpr ErrorKind kKind = ErrorKind::kCheckpoint;

json base_config(const std::string& model_type) {
  json config = {{"model_type", model_type}, {"hidden_size", 64},
                 {"intermediate_size", 172}, {"num_hidden_layers", 2},
                 {"num_attention_heads", 4}, {"num_key_value_heads", 2},
                 {"vocab_size", 256},        {"rms_norm_eps", 1e-5},
                 {"hidden_act", "silu"},     {"max_position_embeddings", 512},
                 {"rope_theta", 10000.0},    {"tie_word_embeddings", false}};
  if (model_type == "mistral") config["sliding_window"] = nullptr;
  return config;
}

HuggingFaceConfig parse(const json& config) {
  return parse_huggingface_config(config.dump(), "folder/config.json");
}

json with(json config, const std::string& key, json value) {
  config[key] = std::move(value);
  return config;
}

json without(json config, const std::string& key) {
  config.erase(key);
  return config;
}

void expect_refused(const json& config, std::vector<std::string> message) {
  message.insert(message.begin(), "folder/config.json");
  expect_error(kKind, message, [&] { parse(config); });
}

TEST(HuggingFaceConfig, GoldenModels) {
  const HuggingFaceConfig plain = read_huggingface_config(std::string(LS_TEST_DATA) + "/golden/llama");
  EXPECT_EQ(plain.model_type, "llama");
  EXPECT_EQ(plain.max_positions, 512);
  EXPECT_EQ(plain.spec.vocabulary_size, 256);
  EXPECT_EQ(plain.spec.hidden_size, 64);
  EXPECT_EQ(plain.spec.num_layers, 2);
  EXPECT_EQ(plain.spec.num_heads, 4);
  EXPECT_EQ(plain.spec.num_kv_heads, 2);
  EXPECT_EQ(plain.spec.head_dim, 16);
  EXPECT_EQ(plain.spec.mlp_size, 172);
  EXPECT_EQ(plain.spec.norm_epsilon, 1e-5);
  EXPECT_EQ(plain.spec.rope.theta, 10000);
  EXPECT_EQ(plain.spec.rope.scaling, RopeScalingType::kNone);
  const RopeSpec rope =
      read_huggingface_config(std::string(LS_TEST_DATA) + "/golden/llama_llama3rope").spec.rope;
  EXPECT_EQ(rope.scaling, RopeScalingType::kLlama3);
  EXPECT_EQ(rope.theta, 500000);
  EXPECT_EQ(rope.factor, 8);
  EXPECT_EQ(rope.low_frequency_factor, 1);
  EXPECT_EQ(rope.high_frequency_factor, 4);
  EXPECT_EQ(rope.original_max_positions, 64);
}

TEST(HuggingFaceConfig, FourFamilies) {
  EXPECT_EQ(parse(base_config("llama")).spec.bias, ModelSpec::Bias::kNone);
  EXPECT_EQ(parse(base_config("mistral")).spec.qk_norm, ModelSpec::QkNorm::kNo);
  json qwen2 = base_config("qwen2");
  qwen2["use_sliding_window"] = false;
  qwen2["sliding_window"] = 32768;
  EXPECT_EQ(parse(qwen2).spec.bias, ModelSpec::Bias::kQkv);
  const ModelSpec qwen3 = parse(with(base_config("qwen3"), "head_dim", 32)).spec;
  EXPECT_EQ(qwen3.qk_norm, ModelSpec::QkNorm::kYes);
  EXPECT_EQ(qwen3.bias, ModelSpec::Bias::kNone);
  EXPECT_EQ(qwen3.head_dim, 32);
  EXPECT_EQ(parse(base_config("qwen3")).spec.head_dim, 128);  // the default of its class
  EXPECT_EQ(parse(with(base_config("llama"), "tie_word_embeddings", true)).spec.tie_embeddings,
            ModelSpec::Tie::kYes);
}

TEST(HuggingFaceConfig, DefaultsAreThoseOfTransformers) {
  json config = base_config("llama");
  for (const char* key : {"num_key_value_heads", "rms_norm_eps", "hidden_act", "rope_theta",
                          "tie_word_embeddings", "max_position_embeddings"}) {
    config.erase(key);
  }
  config["head_dim"] = nullptr;
  const HuggingFaceConfig result = parse(config);
  EXPECT_EQ(result.spec.num_kv_heads, 4);
  EXPECT_EQ(result.spec.head_dim, 16);
  EXPECT_EQ(result.spec.norm_epsilon, 1e-6);
  EXPECT_EQ(result.spec.rope.theta, 10000);
  EXPECT_EQ(result.spec.initializer_range, 0.02);
  EXPECT_EQ(result.spec.tie_embeddings, ModelSpec::Tie::kNo);
  EXPECT_EQ(result.max_positions, 0);
}

TEST(HuggingFaceConfig, BothDialectsOfRope) {
  const json base = without(base_config("llama"), "rope_theta");
  const json yarn = {{"rope_type", "yarn"},
                     {"factor", 4.0},
                     {"original_max_position_embeddings", 128},
                     {"beta_fast", 16},
                     {"attention_factor", 1.25}};
  json v4 = with(with(base, "rope_theta", 1e6), "rope_scaling", yarn);
  json v5 = with(base, "rope_parameters", with(yarn, "rope_theta", 1e6));
  json nested = with(base, "rope_parameters",
                     {{"full_attention", with(yarn, "rope_theta", 1e6)},
                      {"sliding_attention", with(yarn, "rope_theta", 1e6)}});
  json both = v5;
  both["rope_scaling"] = yarn;
  both["rope_theta"] = 1e6;
  json legacy = v4;
  legacy["rope_scaling"]["type"] = "yarn";
  legacy["rope_scaling"].erase("rope_type");
  for (const json& config : {v4, v5, nested, both, legacy}) {
    const RopeSpec rope = parse(config).spec.rope;
    EXPECT_EQ(rope.scaling, RopeScalingType::kYarn) << config;
    EXPECT_EQ(rope.theta, 1e6) << config;
    EXPECT_EQ(rope.factor, 4);
    EXPECT_EQ(rope.original_max_positions, 128);
    EXPECT_EQ(rope.beta_fast, 16);
    EXPECT_EQ(rope.beta_slow, 1);
    EXPECT_EQ(rope.attention_factor, 1.25);
  }
}

TEST(HuggingFaceConfig, KindsOfScaling) {
  const auto scaled = [](const json& scaling) {
    return parse(with(base_config("llama"), "rope_scaling", scaling)).spec.rope;
  };
  EXPECT_EQ(scaled(nullptr).scaling, RopeScalingType::kNone);
  EXPECT_EQ(scaled({{"type", "linear"}, {"factor", 2}}).scaling, RopeScalingType::kLinear);
  EXPECT_EQ(scaled({{"type", "linear"}, {"factor", 2}}).factor, 2);
  EXPECT_EQ(scaled({{"rope_type", "ntk"}, {"factor", 8}}).scaling, RopeScalingType::kNtk);
  EXPECT_EQ(scaled({{"rope_type", "default"}}).scaling, RopeScalingType::kNone);
  const RopeSpec yarn = scaled({{"rope_type", "yarn"}, {"factor", 2}, {"truncate", true}});
  EXPECT_EQ(yarn.original_max_positions, 512);  // max_position_embeddings
  EXPECT_EQ(yarn.attention_factor, 0);
}

TEST(HuggingFaceConfig, UnsupportedRopeIsRefusedByName) {
  const auto refused = [](const json& scaling, const std::vector<std::string>& message) {
    expect_refused(with(base_config("llama"), "rope_scaling", scaling), message);
  };
  refused({{"rope_type", "dynamic"}, {"factor", 2}},
          {"rope_scaling.rope_type", "dynamic", "length of the input"});
  refused({{"type", "longrope"}}, {"rope_scaling.type", "longrope", "llama3"});
  refused({{"rope_type", "yarn"}, {"factor", 2}, {"truncate", false}}, {"rope_scaling.truncate"});
  refused({{"rope_type", "yarn"}, {"factor", 2}, {"mscale", 0.707}}, {"rope_scaling.mscale", "0.707"});
  refused({{"rope_type", "yarn"}, {"factor", 2}, {"beta_fast", 1}}, {"beta_fast", "beta_slow"});
  refused({{"rope_type", "yarn"}}, {"rope_scaling.factor", "missing"});
  refused({{"rope_type", "yarn"}, {"factor", 0.5}}, {"rope_scaling.factor", "0.5"});
  refused({{"rope_type", "linear"}, {"factor", "2"}}, {"rope_scaling.factor", "\"2\""});
  refused({{"rope_type", "linear"}, {"type", "yarn"}, {"factor", 2}}, {"linear", "yarn"});
  refused({{"rope_type", "default"}, {"factor", 2}}, {"rope_scaling.factor"});
  refused({{"rope_type", "default"}, {"rope_theta", 77.0}}, {"rope_theta", "77"});
  refused({{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 1}, {"high_freq_factor", 4}},
          {"original_max_position_embeddings", "missing"});
  refused({{"rope_type", "llama3"},
           {"factor", 8},
           {"low_freq_factor", 4},
           {"high_freq_factor", 4},
           {"original_max_position_embeddings", 64}},
          {"high_freq_factor", "low_freq_factor"});
  refused("yarn", {"rope_scaling", "an object"});
  const json v5 = without(base_config("llama"), "rope_theta");
  expect_refused(
      with(v5, "rope_parameters",
           {{"full_attention", {{"rope_theta", 1e4}}}, {"sliding_attention", {{"rope_theta", 1e6}}}}),
      {"rope_parameters.sliding_attention", "rope_parameters.full_attention"});
  expect_refused(with(with(v5, "rope_parameters", {{"rope_theta", 1e4}}), "rope_scaling",
                      {{"type", "linear"}, {"factor", 2}}),
                 {"rope_scaling", "rope_parameters"});
  expect_refused(with(v5, "rope_parameters", {{"rope_theta", 1e4}, {"partial_rotary_factor", 0.5}}),
                 {"partial_rotary_factor", "0.5"});
}

TEST(HuggingFaceConfig, UnsupportedModelsAreRefusedByName) {
  expect_refused(with(base_config("llama"), "model_type", "gpt2"),
                 {"model_type", "gpt2", "llama, mistral, qwen2 and qwen3"});
  expect_refused(without(base_config("llama"), "model_type"), {"model_type", "missing"});
  expect_refused(with(base_config("llama"), "hidden_act", "gelu"), {"hidden_act", "gelu", "silu"});
  expect_refused(with(base_config("llama"), "attention_bias", true), {"attention_bias", "output projection"});
  expect_refused(with(base_config("qwen3"), "attention_bias", true), {"attention_bias"});
  expect_refused(with(base_config("llama"), "mlp_bias", true), {"mlp_bias"});
  expect_refused(with(base_config("mistral"), "sliding_window", 4096), {"sliding_window", "4096"});
  expect_refused(without(base_config("mistral"), "sliding_window"), {"sliding_window", "4096"});
  expect_refused(with(base_config("qwen2"), "use_sliding_window", true), {"use_sliding_window"});
  expect_refused(with(base_config("qwen3"), "use_sliding_window", true), {"use_sliding_window"});
  expect_refused(with(base_config("qwen3"), "layer_types", {"full_attention", "sliding_attention"}),
                 {"layer_types"});
  expect_refused(with(base_config("llama"), "attention_dropout", 0.1), {"attention_dropout", "0.1"});
  expect_refused(with(base_config("llama"), "quantization_config", {{"bits", 4}}), {"quantization_config"});
}

TEST(HuggingFaceConfig, BadValuesAreNamed) {
  const json base = base_config("llama");
  for (const char* key :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    expect_refused(without(base, key), {key, "missing"});
    expect_refused(with(base, key, nullptr), {key, "missing"});
    expect_refused(with(base, key, 0), {key, "0"});
    expect_refused(with(base, key, -64), {key, "-64"});
    expect_refused(with(base, key, 64.5), {key, "64.5"});
    expect_refused(with(base, key, "64"), {key, "\"64\""});
    expect_refused(with(base, key, 4294967296), {key, "4294967296"});
    expect_refused(with(base, key, 18446744073709551615u), {key, "18446744073709551615"});
    expect_refused(with(base, key, {1, 2}), {key, "[1,2]"});
  }
  expect_refused(with(base, "num_key_value_heads", 3), {"num_key_value_heads", "3", "4"});
  expect_refused(without(base_config("qwen2"), "num_key_value_heads"), {"num_key_value_heads", "missing"});
  expect_refused(with(base, "hidden_size", 66), {"hidden_size", "66", "4"});
  expect_refused(with(base, "head_dim", 15), {"head_dim", "15", "even"});
  expect_refused(with(base, "rms_norm_eps", -1e-5), {"rms_norm_eps"});
  expect_refused(with(base, "rms_norm_eps", "1e-5"), {"rms_norm_eps"});
  expect_refused(with(base, "rope_theta", 0), {"rope_theta"});
  expect_refused(with(base, "tie_word_embeddings", 1), {"tie_word_embeddings", "true or false"});
  expect_refused(with(base, "hidden_act", 7), {"hidden_act"});
}

TEST(HuggingFaceConfig, WhatIsNoJsonNamesTheKeyBeforeIt) {
  const auto refused = [](const std::string& text, const std::vector<std::string>& message) {
    expect_error(kKind, message, [&] { parse_huggingface_config(text, "folder/config.json"); });
  };
  refused("", {"folder/config.json"});
  refused("[]", {"folder/config.json", "object"});
  refused(R"({"a": 1, "b": {"a": 2}, "a": 3})", {"folder/config.json", "'a'", "twice"});
  std::string many = "{\"a\": [1";
  for (int i = 0; i < 4'000'000; ++i) many += ",1";
  refused(many + "]}", {"folder/config.json", "more than 4000000 values"});
  refused("{\"a\": \"" + std::string(1'000'000, 'x'), {"folder/config.json", "in all)"});
  refused(R"({"model_type": "llama", "rms_norm_eps": NaN})", {"folder/config.json", "'rms_norm_eps'"});
  refused(R"({"model_type": "llama", "rope_theta": 1e999})", {"folder/config.json", "'rope_theta'", "1e999"});
  refused("{\"a\":" + std::string(100'000, '['), {"folder/config.json", "nesting"});
  expect_error(kKind, {"/nowhere/config.json"}, [] { read_huggingface_config("/nowhere"); });
}

TEST(HuggingFaceConfig, DamageGivesErrorsAndNothingElse) {
  json config = base_config("llama");
  config["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 64}};
  const std::string whole = config.dump();
  const RandomStream random(1, "damage");
  for (uint64_t i = 0; i < 5000; ++i) {
    std::string damaged = whole;
    for (uint64_t k = 0; k < 1 + i % 3; ++k) {
      const uint64_t bits = random.bits(8 * i + k + 4);
      damaged[random.below(8 * i + k, whole.size())] =
          static_cast<char>(i % 2 == 0 ? "0123456789-e.\"{}[],:"[bits % 21] : bits);
    }
    try {
      parse_huggingface_config(damaged, "folder/config.json");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kKind) << error.what();
      EXPECT_NE(std::string(error.what()).find("folder/config.json"), std::string::npos) << error.what();
    }
  }
}

SafetensorsEntry entry(const std::string& name, const std::vector<float>& values) {
  return {.name = name,
          .dtype = DType::kFloat32,
          .shape = {static_cast<int64_t>(values.size())},
          .data = values.data()};
}

TEST(HuggingFaceWeights, OneFile) {
  const HuggingFaceWeights weights(std::string(LS_TEST_DATA) + "/golden/llama");
  EXPECT_TRUE(weights.contains("lm_head.weight"));
  EXPECT_EQ(weights.info("model.norm.weight").shape, (std::vector<int64_t>{64}));
  EXPECT_EQ(weights.names().size(), 21u);
  expect_error(kKind, {"golden/llama", "'nothing'"}, [&] { weights.info("nothing"); });
}

TEST(HuggingFaceWeights, Shards) {
  const Folder folder;
  const std::vector<float> a = {1, 2}, b = {3};
  write_safetensors(folder / "model-1.safetensors", {entry("a", a)});
  write_safetensors(folder / "model-2.safetensors", {entry("b", b), entry("c", b)});
  folder.write("model.safetensors.index.json",
               R"({"metadata": {"total_size": 16}, "weight_map": {"a":)"
               R"( "model-1.safetensors", "b": "model-2.safetensors", "c": "model-2.safetensors"}})");
  const HuggingFaceWeights weights(folder.path());
  EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b", "c"}));
  double out[2];
  weights.read("a", {2}, DType::kFloat64, out);
  EXPECT_EQ(out[1], 2);
  expect_error(kKind, {"model-2.safetensors", "'b'", "[1]", "[2]"},
               [&] { weights.read("b", {2}, DType::kFloat64, out); });
}

TEST(HuggingFaceWeights, LyingIndexesAreRefused) {
  const Folder folder;
  const std::vector<float> a = {1};
  write_safetensors(folder / "good.safetensors", {entry("a", a)});
  const auto refused = [&](const std::string& weight_map, std::vector<std::string> message) {
    folder.write("model.safetensors.index.json", "{\"weight_map\": " + weight_map + "}");
    message.push_back(folder.path());
    expect_error(kKind, message, [&] { HuggingFaceWeights{folder.path()}; });
  };
  refused(R"({"a": "missing.safetensors"})", {"missing.safetensors", "No such file"});
  refused(R"({"zz": "good.safetensors"})", {"'zz'", "good.safetensors"});
  refused(R"({"a": "../good.safetensors"})", {"'a'", "../good.safetensors"});
  refused(R"({"a": "/etc/passwd"})", {"'a'", "/etc/passwd"});
  refused(R"({"a": ".."})", {"'a'", "'..'"});
  refused(R"({"a": ""})", {"'a'"});
  refused("{\"a\": \"good.safetensors\\u0000\"}", {"'a'"});
  refused(R"({"a": 7})", {"weight_map.a"});
  refused("7", {"weight_map"});
  const Folder empty;
  expect_error(kKind, {empty.path(), "model.safetensors.index.json"},
               [&] { HuggingFaceWeights{empty.path()}; });
}

}  // namespace
}  // namespace longspan
