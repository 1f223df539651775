#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <set>

#include "train/formats/atomic_file.h"
#include "train/formats/safetensors.h"

namespace longspan {

namespace {

struct TypeName {
  const char* text;
  int rank;  // the reference writer puts types of greater alignment first, so that all tensors stay aligned
};

TypeName type_name(DType dtype) {
  switch (dtype) {
    case DType::kInt64:
      return {"I64", 5};
    case DType::kFloat64:
      return {"F64", 4};
    case DType::kFloat32:
      return {"F32", 3};
    case DType::kInt32:
      return {"I32", 2};
    case DType::kBFloat16:
      return {"BF16", 1};
    case DType::kUInt8:
      return {"U8", 0};
  }
  return {"?", 0};
}

int64_t num_bytes(const SafetensorsEntry& entry) {
  auto bytes = static_cast<int64_t>(size_bytes(entry.dtype));
  for (const int64_t size : entry.shape) {
    check(size >= 0 && !__builtin_mul_overflow(bytes, size, &bytes), "tensor '{}' has a dim of {}",
          entry.name, size);
  }
  return bytes;
}

std::vector<const SafetensorsEntry*> in_file_order(const std::vector<SafetensorsEntry>& entries) {
  std::vector<const SafetensorsEntry*> order;
  std::set<std::string> names;
  for (const SafetensorsEntry& entry : entries) {
    check(names.insert(entry.name).second, "tensor '{}' is written twice", entry.name);
    check(entry.name != "__metadata__", "no tensor may be named {}", entry.name);
    order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    const int rank_a = type_name(a->dtype).rank, rank_b = type_name(b->dtype).rank;
    return rank_a != rank_b ? rank_a > rank_b : a->name < b->name;
  });
  return order;
}

std::string header_text(const std::vector<const SafetensorsEntry*>& order) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  int64_t offset = 0;
  for (const SafetensorsEntry* entry : order) {
    nlohmann::ordered_json tensor;
    tensor["dtype"] = type_name(entry->dtype).text;
    tensor["shape"] = entry->shape;
    tensor["data_offsets"] = {offset, offset + num_bytes(*entry)};
    offset += num_bytes(*entry);
    header.push_back({entry->name, std::move(tensor)});
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

SafetensorsEntry safetensors_entry(const std::string& name, const Tensor& tensor) {
  check(tensor.layout().is_contiguous(), "tensor '{}' of shape {} has gaps", name,
        tensor.shape().to_string());
  SafetensorsEntry entry{.name = name, .dtype = tensor.dtype(), .shape = {}, .data = tensor.raw()};
  for (int dim = 0; dim < tensor.rank(); ++dim) entry.shape.push_back(tensor.size(dim));
  return entry;
}

void write_safetensors(const std::string& path, const std::vector<SafetensorsEntry>& entries) {
  static_assert(std::endian::native == std::endian::little, "the elements of the format are little-endian");
  const auto order = in_file_order(entries);
  const std::string header = header_text(order);
  const uint64_t header_bytes = header.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(header);
  for (const SafetensorsEntry* entry : order) {
    file.write({static_cast<const std::byte*>(entry->data), static_cast<size_t>(num_bytes(*entry))});
  }
  file.commit();
}

}  // namespace longspan
