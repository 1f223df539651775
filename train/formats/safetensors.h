// safetensors: named tensors in one file (https://github.com/huggingface/safetensors, format section).
//
//   u64 N | N bytes of JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...} |
//   data
//
// Little-endian and row-major; the tensors tile the data without holes or overlap. The reader makes every
// check of the reference implementation when it opens a file, whatever is read later, and refuses repeated
// names. All errors are Error(kCheckpoint), name the file and the tensor, and hold both offending values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor/tensor.h"
#include "train/formats/mapped_file.h"

namespace longspan {

struct SafetensorsInfo {
  std::string dtype;  // as the file spells it: "F32", "BF16", ...
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::vector<std::string>& names() const { return names_; }  // as they lie in the file
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  const SafetensorsInfo& info(const std::string& name) const;  // raises where there is no such tensor

  // Raises where there is no such tensor, or one of another shape.
  void expect(const std::string& name, const Shape& shape) const;
  // Reads a whole tensor of exactly this shape as `dtype`. F64, F32, BF16 and F16 convert to float64, float32
  // and bfloat16; I64, I32 and U8 are read as what they are; other types are refused by name.
  void read(const std::string& name, const Shape& shape, DType dtype, void* out) const;
  // The same into a contiguous tensor in host memory, whose shape and dtype say what is wanted.
  void read_into(const std::string& name, const Tensor& out) const;
  // Elements [begin, begin + count) of the row-major tensor.
  void read_elements(const std::string& name, int64_t begin, int64_t count, DType dtype, void* out) const;

 private:
  MappedFile file_;
  std::vector<std::string> names_;
  std::map<std::string, SafetensorsInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  const void* data = nullptr;  // row-major, without gaps
};

// An entry for a contiguous tensor in host memory, which must outlive it.
SafetensorsEntry safetensors_entry(const std::string& name, const Tensor& tensor);

// Writes the entries in the order the reference writer gives them, with {"format": "pt"} as metadata, which
// transformers asks for. The file appears whole or not at all (atomic_file.h).
void write_safetensors(const std::string& path, const std::vector<SafetensorsEntry>& entries);

}  // namespace longspan
