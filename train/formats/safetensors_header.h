// The JSON header of a safetensors file, parsed and checked against the size of the data that follows it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace longspan {

struct SafetensorsHeader {
  struct Tensor {
    std::string name, dtype;
    std::vector<int64_t> shape;
    int64_t begin = 0, end = 0;  // bytes, from the start of the data
  };
  std::vector<Tensor> tensors;  // as they lie in the file
  std::map<std::string, std::string> metadata;
};

// Raises Error(kCheckpoint) unless the tensors tile [0, data_bytes) without holes or overlap, each as large
// as its shape and dtype say, and no name is given twice. `path` is for messages.
SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t data_bytes,
                                           const std::string& path);

// "[2, 3]"
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace longspan
