// Models in Hugging Face folders: config.json, and model.safetensors or model.safetensors.index.json with its
// shards.
//
// Reads Llama, Mistral, Qwen2 and Qwen3. What such a configuration may say and this program does not do is
// refused by name, never ignored. Both dialects of the rotary embedding are understood: rope_theta with
// rope_scaling (transformers 4) and rope_parameters (transformers 5). Weights keep their names and layout:
// Linear is [out, in]; query and key rows are ordered for the rotation of halves, which is also ours
// (model/rope.h). All errors are Error(kCheckpoint) and name the file and the key or tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor/tensor.h"
#include "model/model_spec.h"
#include "train/formats/safetensors.h"

namespace longspan {

struct HuggingFaceConfig {
  ModelSpec spec;
  std::string model_type;  // llama, mistral, qwen2 or qwen3
  int64_t max_positions =
      0;  // max_position_embeddings: what the model was trained for; 0 where it is not said
};

HuggingFaceConfig read_huggingface_config(const std::string& folder);

// The same from text; `path` is for messages.
HuggingFaceConfig parse_huggingface_config(const std::string& text, const std::string& path);

class HuggingFaceWeights {
 public:
  // Opens every shard, and checks that each holds the tensors the index says it does.
  explicit HuggingFaceWeights(const std::string& folder);

  std::vector<std::string> names() const;  // sorted
  bool contains(const std::string& name) const { return shard_of_.contains(name); }
  const SafetensorsInfo& info(const std::string& name) const { return file_of(name).info(name); }

  // As SafetensorsFile has them.
  void expect(const std::string& name, const Shape& shape) const { file_of(name).expect(name, shape); }
  void read(const std::string& name, const Shape& shape, DType dtype, void* out) const;
  void read_into(const std::string& name, const Tensor& out) const;

 private:
  void open_index(const std::string& index_path);
  const SafetensorsFile& file_of(const std::string& name) const;

  std::string folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, size_t> shard_of_;
};

}  // namespace longspan
