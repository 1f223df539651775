#include "train/formats/huggingface_rope.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/base/error.h"

namespace longspan {

namespace {

using Keys = std::vector<std::string>;

constexpr double kDefaultTheta = 10000;

auto fields(const RopeSpec& s) {
  return std::tie(s.theta, s.scaling, s.factor, s.original_max_positions, s.beta_fast, s.beta_slow,
                  s.attention_factor, s.low_frequency_factor, s.high_frequency_factor);
}

std::string rope_type(const JsonObject& rope) {
  const auto modern = rope.optional_text("rope_type"), legacy = rope.optional_text("type");
  if (modern && legacy && *modern != *legacy) {
    rope.refuse("type", fmt::format("{} says '{}'", rope.name_of("rope_type"), shown(*modern)));
  }
  if (modern) return *modern;
  return legacy.value_or("default");
}

std::string joined(const Keys& keys) {
  std::string text;
  for (const std::string& key : keys) text += (text.empty() ? "" : ", ") + key;
  return text.empty() ? "nothing" : text;
}

// A key that we do not know may change the numbers, so it is never passed over.
void expect_keys(const JsonObject& rope, const std::string& type, const Keys& used) {
  static const Keys kHarmless = {"rope_theta", "rope_type",
                                 "type",       "partial_rotary_factor",
                                 "finetuned",  "original_max_position_embeddings"};
  for (const std::string& key : rope.keys()) {
    const bool known = std::find(used.begin(), used.end(), key) != used.end() ||
                       std::find(kHarmless.begin(), kHarmless.end(), key) != kHarmless.end();
    if (!known) {
      rope.refuse(key, fmt::format("not supported with rope_type '{}', which takes {}", shown(type), joined(used)));
    }
  }
}

double read_factor(const JsonObject& rope) {
  const double factor = rope.positive_number("factor");
  if (factor < 1) rope.refuse("factor", "it should be at least 1");
  return factor;
}

void read_yarn(const JsonObject& config, const JsonObject& rope, RopeSpec& spec) {
  if (rope.has("truncate") && !rope.flag("truncate")) {
    rope.refuse("truncate", "the bounds of the ramp are always rounded to whole pairs");
  }
  expect_keys(rope, "yarn",
              {"factor", "attention_factor", "beta_fast", "beta_slow", "original_max_position_embeddings",
               "truncate"});
  spec.scaling = RopeScalingType::kYarn;
  spec.factor = read_factor(rope);
  spec.attention_factor = rope.optional_positive_number("attention_factor").value_or(0);
  spec.beta_fast = rope.optional_positive_number("beta_fast").value_or(spec.beta_fast);
  spec.beta_slow = rope.optional_positive_number("beta_slow").value_or(spec.beta_slow);
  if (spec.beta_fast <= spec.beta_slow) {
    raise(ErrorKind::kCheckpoint, "{}: {} is {}, it should be greater than beta_slow, {}", rope.path(),
          rope.name_of("beta_fast"), spec.beta_fast, spec.beta_slow);
  }
  const auto original = rope.optional_integer("original_max_position_embeddings");
  spec.original_max_positions = original ? *original : config.integer("max_position_embeddings");
}

void read_llama3(const JsonObject& rope, RopeSpec& spec) {
  expect_keys(rope, "llama3",
              {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"});
  spec.scaling = RopeScalingType::kLlama3;
  spec.factor = read_factor(rope);
  spec.low_frequency_factor = rope.positive_number("low_freq_factor");
  spec.high_frequency_factor = rope.positive_number("high_freq_factor");
  spec.original_max_positions = rope.integer("original_max_position_embeddings");
  if (spec.high_frequency_factor <= spec.low_frequency_factor) {
    raise(ErrorKind::kCheckpoint, "{}: {} is {}, it should be greater than low_freq_factor, {}", rope.path(),
          rope.name_of("high_freq_factor"), spec.high_frequency_factor, spec.low_frequency_factor);
  }
}

void read_scaling(const JsonObject& config, const JsonObject& rope, RopeSpec& spec) {
  const std::string type = rope_type(rope);
  const std::string key = rope.has("rope_type") ? "rope_type" : "type";
  if (type == "default") {
    expect_keys(rope, type, {});
  } else if (type == "linear" || type == "ntk") {
    expect_keys(rope, type, {"factor"});
    spec.scaling = type == "linear" ? RopeScalingType::kLinear : RopeScalingType::kNtk;
    spec.factor = read_factor(rope);
  } else if (type == "yarn") {
    read_yarn(config, rope, spec);
  } else if (type == "llama3") {
    read_llama3(rope, spec);
  } else if (type == "dynamic") {
    rope.refuse(key,
                "its frequencies change with the length of the input, so that no two lengths share a model; "
                "'ntk' and 'yarn' with a fixed factor are supported");
  } else {
    rope.refuse(key, "not supported; default, linear, ntk, yarn and llama3 are");
  }
}

// `rope` is what rope_scaling or rope_parameters holds, or the root of the configuration where there is
// neither.
RopeSpec read_one(const JsonObject& config, const JsonObject& rope) {
  RopeSpec spec;
  const auto outer = config.optional_positive_number("rope_theta"),
             inner = rope.optional_positive_number("rope_theta");
  if (outer && inner && *outer != *inner) {
    config.refuse("rope_theta", fmt::format("{} says {}", rope.name_of("rope_theta"), *inner));
  }
  spec.theta = inner ? *inner : outer.value_or(kDefaultTheta);
  if (rope.optional_number("partial_rotary_factor").value_or(1) != 1) {
    rope.refuse("partial_rotary_factor", "every dimension of a head is rotated here");
  }
  read_scaling(config, rope, spec);
  return spec;
}

// transformers 5 may give one object for each type of layer.
RopeSpec read_parameters(const JsonObject& config, const JsonObject& rope) {
  const Keys keys = rope.keys();
  const bool nested = !keys.empty() && rope.holds_object(keys.front());
  if (!nested) return read_one(config, rope);
  const RopeSpec first = read_one(config, rope.object(keys.front()));
  for (const std::string& key : keys) {
    if (fields(read_one(config, rope.object(key))) != fields(first)) {
      rope.refuse(key, fmt::format("it differs from {}; all layers share one rotary embedding here",
                                   rope.name_of(keys.front())));
    }
  }
  return first;
}

RopeSpec unscaled(const JsonObject& config) {
  RopeSpec spec;
  spec.theta = config.optional_positive_number("rope_theta").value_or(kDefaultTheta);
  return spec;
}

}  // namespace

RopeSpec read_huggingface_rope(const JsonObject& config) {
  if (config.optional_number("partial_rotary_factor").value_or(1) != 1) {
    config.refuse("partial_rotary_factor", "every dimension of a head is rotated here");
  }
  if (!config.has("rope_parameters")) {
    return config.has("rope_scaling") ? read_one(config, config.object("rope_scaling")) : unscaled(config);
  }
  const RopeSpec spec = read_parameters(config, config.object("rope_parameters"));
  if (config.has("rope_scaling") && fields(read_one(config, config.object("rope_scaling"))) != fields(spec)) {
    config.refuse("rope_scaling", "it differs from rope_parameters");
  }
  return spec;
}

}  // namespace longspan
