#include "train/formats/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "core/base/error.h"

namespace longspan {

namespace {

constexpr size_t kMostTensors = 1'000'000;

struct TypeBits {
  std::string_view name;
  int64_t bits;
};

// Every type of the format; which of them can be read is safetensors.cc's business.
constexpr std::array<TypeBits, 22> kTypes = {
    {{"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
     {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
     {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
     {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}}};

// Follows the one structure that a header may have, and builds it without a JSON tree: a repeated key would
// be lost in a tree, and a hostile one could nest without end.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(std::string path, SafetensorsHeader& header) : path_(std::move(path)), header_(header) {}

  bool null() override { refuse("a null"); }
  bool boolean(bool) override { refuse("true or false"); }
  bool number_float(number_float_t, const string_t& text) override {
    refuse("the number " + text.substr(0, 40));
  }
  bool binary(binary_t&) override { refuse("binary data"); }

  bool number_integer(number_integer_t value) override {
    refuse("the negative number " + std::to_string(value));
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kShape && place_ != Place::kOffsets) refuse("the number " + std::to_string(value));
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      refuse("the number " + std::to_string(value) + ", which is too large");
    }
    (place_ == Place::kShape ? header_.tensors.back().shape : offsets_)
        .push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::kMetadata) {
      header_.metadata[key_] = text;
    } else if (place_ == Place::kTensor && key_ == "dtype") {
      header_.tensors.back().dtype = text;
    } else {
      refuse("the string '" + shown(text) + "'");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::kOutside) {
      place_ = Place::kRoot;
    } else if (place_ == Place::kRoot && key_ == "__metadata__") {
      place_ = Place::kMetadata;
    } else if (place_ == Place::kRoot) {
      if (header_.tensors.size() == kMostTensors)
        fail(fmt::format("there are more than {} tensors", kMostTensors));
      header_.tensors.push_back({.name = key_, .dtype = {}, .shape = {}});
      place_ = Place::kTensor;
    } else {
      refuse("an object");
    }
    keys_.push_back({});
    return true;
  }

  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second) fail(fmt::format("the key '{}' is there twice", shown(name)));
    if (place_ == Place::kTensor && name != "dtype" && name != "shape" && name != "data_offsets") {
      fail(fmt::format("tensor '{}' has the unknown key '{}'", tensor_name(), shown(name)));
    }
    key_ = name;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) finish_tensor();
    keys_.pop_back();
    place_ = keys_.empty() ? Place::kOutside : Place::kRoot;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::kTensor || key_ == "dtype") refuse("a list");
    place_ = key_ == "shape" ? Place::kShape : Place::kOffsets;
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& failure) override {
    fail(shown(failure.what(), 400));
  }

 private:
  enum class Place { kOutside, kRoot, kMetadata, kTensor, kShape, kOffsets };

  [[noreturn]] void fail(const std::string& why) const {
    raise(ErrorKind::kCheckpoint, "{}: the header is malformed: {}", path_, why);
  }

  [[noreturn]] void refuse(const std::string& what) const {
    if (place_ == Place::kOutside) fail(what + " stands where the header's object should");
    if (place_ == Place::kRoot || place_ == Place::kMetadata) {
      fail(fmt::format("{} stands under the key '{}'", what, shown(key_)));
    }
    fail(fmt::format("{} stands in the {} of tensor '{}'", what, key_, tensor_name()));
  }

  std::string tensor_name() const { return shown(header_.tensors.back().name); }

  void finish_tensor() {
    for (const char* wanted : {"dtype", "shape", "data_offsets"}) {
      if (!keys_.back().contains(wanted)) fail(fmt::format("tensor '{}' has no {}", tensor_name(), wanted));
    }
    if (offsets_.size() != 2) {
      fail(fmt::format("tensor '{}' has {} data_offsets instead of 2", tensor_name(), offsets_.size()));
    }
    header_.tensors.back().begin = offsets_[0];
    header_.tensors.back().end = offsets_[1];
    offsets_.clear();
  }

  std::string path_;
  SafetensorsHeader& header_;
  Place place_ = Place::kOutside;
  std::vector<std::set<std::string>> keys_;  // seen so far in each open object
  std::string key_;
  std::vector<int64_t> offsets_;
};

void check_size(const SafetensorsHeader::Tensor& tensor, const std::string& path) {
  const auto type =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeBits& t) { return t.name == tensor.dtype; });
  if (type == kTypes.end()) {
    raise(ErrorKind::kCheckpoint, "{}: tensor '{}' has the unknown dtype '{}'", path, shown(tensor.name),
          shown(tensor.dtype));
  }
  int64_t bits = 1;
  bool overflow = false;
  for (const int64_t size : tensor.shape) overflow |= __builtin_mul_overflow(bits, size, &bits);
  overflow |= __builtin_mul_overflow(bits, type->bits, &bits);
  if (overflow || bits % 8 != 0) {
    raise(ErrorKind::kCheckpoint, "{}: tensor '{}' of shape {} and dtype {} {}", path,
          shown(tensor.name), shape_text(tensor.shape), tensor.dtype,
          overflow ? "overflows 64 bits" : "is no whole number of bytes");
  }
  if (tensor.end - tensor.begin != bits / 8) {
    raise(ErrorKind::kCheckpoint,
          "{}: tensor '{}' of shape {} and dtype {} needs {} bytes, its data_offsets [{}, {}] hold {}", path,
          shown(tensor.name), shape_text(tensor.shape), tensor.dtype, bits / 8, tensor.begin, tensor.end,
          tensor.end - tensor.begin);
  }
}

void check_tiling(const SafetensorsHeader& header, int64_t data_bytes, const std::string& path) {
  int64_t end = 0;
  for (const SafetensorsHeader::Tensor& tensor : header.tensors) {
    if (tensor.end < tensor.begin || tensor.begin != end) {
      raise(ErrorKind::kCheckpoint, "{}: tensor '{}' has data_offsets [{}, {}], {}", path,
            shown(tensor.name), tensor.begin, tensor.end,
            tensor.end < tensor.begin
                ? "which run backwards"
                : fmt::format("which {} {}, where the tensor before it ends",
                              tensor.begin > end ? "leave a hole after" : "overlap what ends at", end));
    }
    check_size(tensor, path);
    end = tensor.end;
  }
  if (end != data_bytes) {
    raise(ErrorKind::kCheckpoint, "{}: the tensors end at byte {} of the data, the file has {} ({})", path,
          end, data_bytes, end > data_bytes ? "it was cut short" : "something follows them");
  }
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i == 16) return text + ", ...]";
    text += (i != 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + "]";
}

SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t data_bytes,
                                           const std::string& path) {
  SafetensorsHeader header;
  HeaderReader reader(path, header);
  nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  check_tiling(header, data_bytes, path);
  return header;
}

}  // namespace longspan
