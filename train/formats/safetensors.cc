#include "train/formats/safetensors.h"

#include <bit>
#include <cstring>
#include <utility>

#include "train/formats/safetensors_header.h"

namespace longspan {

namespace {

static_assert(std::endian::native == std::endian::little, "the elements of the format are little-endian");

constexpr uint64_t kLongestHeader = 100'000'000;

// IEEE half precision, bit by bit: conversion by instruction is not everywhere, and no weights are large in
// it.
struct Half {
  uint16_t bits;
  explicit operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1fu, fraction = bits & 0x3ffu;
    if (exponent == 0) {
      const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // subnormal, or zero
      return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
    }
    const uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
    return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
  }
};

template <class To, class From>
To converted(From value) {
  if constexpr (std::is_same_v<To, From>) {
    return value;
  } else if constexpr (std::is_same_v<To, double>) {
    if constexpr (std::is_same_v<From, float>)
      return value;
    else
      return static_cast<double>(static_cast<float>(value));
  } else {
    return static_cast<To>(static_cast<float>(value));
  }
}

// The data of a tensor starts at any byte: elements are copied out.
template <class To, class From>
void convert(const std::byte* in, int64_t count, void* out) {
  auto* elements = static_cast<To*>(out);
  for (int64_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, in + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
    elements[i] = converted<To>(value);
  }
}

using Converter = void (*)(const std::byte*, int64_t, void*);

struct Reader {
  int64_t item_bytes = 0;
  Converter convert = nullptr;  // nullptr: this pair does not convert
};

template <class From>
Reader floating_reader(DType wanted) {
  Reader reader{.item_bytes = sizeof(From)};
  if (wanted == DType::kFloat64) reader.convert = convert<double, From>;
  if (wanted == DType::kFloat32) reader.convert = convert<float, From>;
  if (wanted == DType::kBFloat16) reader.convert = convert<bfloat16, From>;
  return reader;
}

template <class T>
Reader integer_reader(DType wanted) {
  return {.item_bytes = sizeof(T), .convert = wanted == dtype_of<T>() ? convert<T, T> : nullptr};
}

Reader find_reader(std::string_view stored, DType wanted) {
  if (stored == "F64") return floating_reader<double>(wanted);
  if (stored == "F32") return floating_reader<float>(wanted);
  if (stored == "BF16") return floating_reader<bfloat16>(wanted);
  if (stored == "F16") return floating_reader<Half>(wanted);
  if (stored == "I64") return integer_reader<int64_t>(wanted);
  if (stored == "I32") return integer_reader<int32_t>(wanted);
  if (stored == "U8") return integer_reader<uint8_t>(wanted);
  return {};
}

bool same_shape(const std::vector<int64_t>& stored, const Shape& wanted) {
  if (static_cast<int>(stored.size()) != wanted.rank()) return false;
  for (int dim = 0; dim < wanted.rank(); ++dim) {
    if (stored[static_cast<size_t>(dim)] != wanted[dim]) return false;
  }
  return true;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(path, ErrorKind::kCheckpoint) {
  const auto bytes = file_.bytes();
  if (bytes.size() < 8) {
    raise(ErrorKind::kCheckpoint, "{} has {} bytes; a safetensors file has at least 8", path, bytes.size());
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  if (header_bytes > kLongestHeader) {
    raise(ErrorKind::kCheckpoint, "{} announces a header of {} bytes; {} is the most", path, header_bytes,
          kLongestHeader);
  }
  if (header_bytes > bytes.size() - 8) {
    raise(ErrorKind::kCheckpoint, "{} announces a header of {} bytes, only {} follow", path, header_bytes,
          bytes.size() - 8);
  }
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  if (!json.starts_with('{')) raise(ErrorKind::kCheckpoint, "{}: the header does not start with '{{'", path);
  const auto data = bytes.subspan(8 + header_bytes);
  SafetensorsHeader header = parse_safetensors_header(json, static_cast<int64_t>(data.size()), path);
  metadata_ = std::move(header.metadata);
  for (auto& tensor : header.tensors) {
    const auto span =
        data.subspan(static_cast<size_t>(tensor.begin), static_cast<size_t>(tensor.end - tensor.begin));
    names_.push_back(tensor.name);
    tensors_[tensor.name] = {
        .dtype = std::move(tensor.dtype), .shape = std::move(tensor.shape), .bytes = span};
  }
}

const SafetensorsInfo& SafetensorsFile::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) raise(ErrorKind::kCheckpoint, "{} has no tensor '{}'", path(), shown(name));
  return found->second;
}

void SafetensorsFile::expect(const std::string& name, const Shape& shape) const {
  const SafetensorsInfo& tensor = info(name);
  if (!same_shape(tensor.shape, shape)) {
    raise(ErrorKind::kCheckpoint, "{}: tensor '{}' has shape {}, not {}", path(), shown(name),
          shape_text(tensor.shape), shape.to_string());
  }
}

void SafetensorsFile::read(const std::string& name, const Shape& shape, DType dtype, void* out) const {
  expect(name, shape);
  read_elements(name, 0, shape.num_elements(), dtype, out);
}

void SafetensorsFile::read_into(const std::string& name, const Tensor& out) const {
  check(out.layout().is_contiguous(), "tensor '{}' is read into a layout with gaps", name);
  read(name, out.shape(), out.dtype(), out.raw());
}

void SafetensorsFile::read_elements(const std::string& name, int64_t begin, int64_t count, DType dtype,
                                    void* out) const {
  const SafetensorsInfo& tensor = info(name);
  const Reader reader = find_reader(tensor.dtype, dtype);
  if (reader.convert == nullptr) {
    raise(ErrorKind::kCheckpoint, "{}: tensor '{}' is {}, which cannot be read as {}{}", path(),
          shown(name), tensor.dtype, longspan::name(dtype),
          reader.item_bytes == 0 ? "; F64, F32, BF16, F16, I64, I32 and U8 are what can be read" : "");
  }
  const int64_t num_elements = static_cast<int64_t>(tensor.bytes.size()) / reader.item_bytes;
  check(0 <= begin && 0 <= count && begin <= num_elements - count,
        "elements [{}, {} + {}) of tensor '{}', which has {}", begin, begin, count, name, num_elements);
  file_.expect_unchanged();
  reader.convert(tensor.bytes.data() + begin * reader.item_bytes, count, out);
}

}  // namespace longspan
