#include "launcher/config_limits.h"

#include <google/protobuf/descriptor.h>

#include <cmath>
#include <string_view>

#include "core/base/error.h"
#include "launcher/config_schema.h"
#include "launcher/join.h"

namespace longspan {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr auto kOpen = NumberLimits::Lower::kOpen;
constexpr double kMaxTokens = 1LL << 40;
constexpr double kMaxSteps = 1e12;

constexpr NumberLimits kLimits[] = {
    {"threads_per_rank", 0, 4096},
    {"model.vocabulary_size", 1, 1 << 24},
    {"model.hidden_size", 1, 1 << 20},
    {"model.num_layers", 1, 1 << 14},
    {"model.num_heads", 1, 1 << 14},
    {"model.num_kv_heads", 1, 1 << 14},
    {"model.head_dim", 2, 1 << 12},
    {"model.mlp_size", 1, 1 << 22},
    {"model.initializer_range", 0, 10, kOpen},
    {"model.norm_epsilon", 0, 1, kOpen},
    {"model.rope.theta", 1, 1e15, kOpen},
    {"model.rope.scaling.factor", 1, 1e6},
    {"model.rope.scaling.original_max_positions", 1, kMaxTokens},
    {"model.rope.scaling.beta_fast", 0, 1e6, kOpen},
    {"model.rope.scaling.beta_slow", 0, 1e6, kOpen},
    {"model.rope.scaling.attention_factor", 0, 1e3},
    {"model.rope.scaling.low_frequency_factor", 0, 1e6, kOpen},
    {"model.rope.scaling.high_frequency_factor", 0, 1e6, kOpen},
    {"data.sequence_length", 1, kMaxTokens},
    {"data.blend[].weight", 0, 1e9, kOpen},
    {"data.holdout_every", 0, 1e9},
    {"evaluation.interval_steps", 0, kMaxSteps},
    {"evaluation.max_sequences", 0, kMaxTokens},
    {"evaluation.sequence_length", 1, kMaxTokens},
    {"mesh.pipeline", 1, 1 << 20},
    {"mesh.data", 1, 1 << 20},
    {"mesh.context", 1, 1 << 20},
    {"mesh.tensor", 1, 1 << 20},
    {"context.group_ranks", 0, 1 << 20},
    {"pipeline.chunks_per_stage", 1, 1 << 14},
    {"pipeline.sequence_chunks", 1, 1 << 20},
    {"memory.loss_tile_tokens", 0, 1 << 30},
    {"memory.mlp_tile_tokens", 0, 1 << 30},
    {"recurrence.segment_tokens", 0, kMaxTokens},
    {"recurrence.memory_tokens", 0, kMaxTokens},
    {"optimizer.learning_rate", 0, 100},
    {"optimizer.minimum_learning_rate", 0, 100},
    {"optimizer.warmup_steps", 0, kMaxSteps},
    {"optimizer.beta1", 0, 0.999999999},
    {"optimizer.beta2", 0, 0.999999999},
    {"optimizer.epsilon", 0, 1, kOpen},
    {"optimizer.weight_decay", 0, 100},
    {"optimizer.gradient_clip", 0, 1e12},
    {"training.steps", 1, kMaxSteps},
    {"training.global_batch_sequences", 1, 1 << 24},
    {"training.micro_batch_sequences", 1, 1 << 24},
    {"checkpoint.interval_steps", 0, kMaxSteps},
    {"checkpoint.keep", 0, 1e6},
    {"metrics.trace_steps", 0, 1e6},
    {"metrics.trace_first_step", 0, kMaxSteps},
    {"generation.prompt_tokens", 0, (1 << 24) - 1},
    {"generation.max_tokens", 1, 1 << 24},
    {"generation.temperature", 0, 100},
    {"generation.top_k", 0, 1 << 24},
    {"communication.timeout_seconds", 1, 86400},
    {"communication.max_multiprocessors", 0, 64},
};

// A field of a message, with the index of the element where it is repeated (-1 where not).
struct Element {
  const Message& message;
  const FieldDescriptor& field;
  int index;
};

double number(const Element& at) {
  const auto& reflect = *at.message.GetReflection();
  if (at.field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    return reflect.GetDouble(at.message, &at.field);
  }
  return static_cast<double>(at.index < 0 ? reflect.GetInt64(at.message, &at.field)
                                          : reflect.GetRepeatedInt64(at.message, &at.field, at.index));
}

// As it was given: a double would round large integers.
std::string number_text(const Element& at) {
  const auto& reflect = *at.message.GetReflection();
  if (at.field.cpp_type() != FieldDescriptor::CPPTYPE_INT64) return fmt::format("{}", number(at));
  return fmt::format("{}", at.index < 0 ? reflect.GetInt64(at.message, &at.field)
                                        : reflect.GetRepeatedInt64(at.message, &at.field, at.index));
}

void check_number(const Element& at, const std::string& path, const std::string& schema_path,
                  ConfigProblems& problems) {
  const auto limits = limits_of(schema_path);
  if (!limits) return;
  const double value = number(at);
  const bool above = limits->lower == kOpen ? value > limits->minimum : value >= limits->minimum;
  if (std::isfinite(value) && above && value <= limits->maximum) return;
  const char* range = limits->lower == kOpen ? "more than {} to {}" : "{} to {}";
  problems.add(path, "is {}; allowed is {}", number_text(at),
               fmt::format(fmt::runtime(range), limits->minimum, limits->maximum));
}

// What is handed to the system as a name would end at a zero byte, and be another name.
void check_text(const Element& at, const std::string& path, ConfigProblems& problems) {
  if (at.field.type() != FieldDescriptor::TYPE_STRING) return;  // bytes may be any
  const auto& reflect = *at.message.GetReflection();
  const std::string text = at.index < 0 ? reflect.GetString(at.message, &at.field)
                                        : reflect.GetRepeatedString(at.message, &at.field, at.index);
  if (const size_t place = text.find('\0'); place != std::string::npos) {
    problems.add(path, "is \"{}\", with a zero byte at {}", shown(text), place);
  }
}

void check_enum(const Element& at, const std::string& path, ConfigProblems& problems) {
  if (path == "checkpoint.resume") return;  // a step is an unknown value; check_support knows what is meant
  const int value = at.message.GetReflection()->GetEnumValue(at.message, &at.field);
  if (at.field.enum_type()->FindValueByNumber(value) != nullptr) return;
  problems.add(path, "is {}; allowed are {}", value, join(value_names(*at.field.enum_type()), ", "));
}

void walk(const Message& message, const std::string& prefix, const std::string& schema_prefix,
          ConfigProblems& problems) {
  const auto& reflect = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflect.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflect.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      const int index = field->is_repeated() ? i : -1;
      const std::string path = prefix + field->name() + (index < 0 ? "" : fmt::format("[{}]", i));
      const std::string schema_path = schema_prefix + field->name();
      const Element at{message, *field, index};
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        const Message& child = index < 0 ? reflect.GetMessage(message, field)
                                         : reflect.GetRepeatedMessage(message, field, i);
        walk(child, path + ".", schema_path + (index < 0 ? "." : "[]."), problems);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        check_enum(at, path, problems);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        check_text(at, path, problems);
      } else {
        check_number(at, path, schema_path, problems);
      }
    }
  }
}

}  // namespace

std::optional<NumberLimits> limits_of(const std::string& path) {
  for (const NumberLimits& limits : kLimits) {
    if (path == limits.path) return limits;
  }
  return std::nullopt;
}

void check_limits(const config::RunConfig& config, ConfigProblems& problems) {
  walk(config, "", "", problems);
}

}  // namespace longspan
