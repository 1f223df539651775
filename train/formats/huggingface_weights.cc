#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "train/formats/huggingface.h"
#include "train/formats/json_object.h"

namespace longspan {

namespace {

constexpr size_t kLargestIndex = size_t{64} << 20;  // those of the largest models have some ten million bytes

bool exists(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

// An index may come from anywhere: its shards lie beside it, and nowhere else.
void expect_basename(const std::string& name, const std::string& tensor, const std::string& index_path) {
  const bool safe = !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
                    std::none_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; });
  if (!safe) {
    raise(ErrorKind::kCheckpoint, "{}: tensor '{}' lies in '{}', which is no file name in the same folder",
          index_path, shown(tensor), shown(name));
  }
}

}  // namespace

HuggingFaceWeights::HuggingFaceWeights(const std::string& folder) : folder_(folder) {
  const std::string single = folder + "/model.safetensors", index = folder + "/model.safetensors.index.json";
  if (exists(single)) {
    shards_.push_back(std::make_unique<SafetensorsFile>(single));
    for (const std::string& name : shards_.back()->names()) shard_of_[name] = 0;
  } else if (exists(index)) {
    open_index(index);
  } else {
    raise(ErrorKind::kCheckpoint, "{} has neither model.safetensors nor model.safetensors.index.json",
          folder);
  }
}

void HuggingFaceWeights::open_index(const std::string& index_path) {
  const MappedFile file(index_path, ErrorKind::kCheckpoint);
  if (file.size_bytes() > kLargestIndex) {
    raise(ErrorKind::kCheckpoint, "{} has {} bytes; {} is the most", index_path, file.size_bytes(),
          kLargestIndex);
  }
  const nlohmann::json root =
      parse_json_object({reinterpret_cast<const char*>(file.bytes().data()), file.size_bytes()}, index_path);
  const JsonObject weight_map = JsonObject(root, index_path, "").object("weight_map");
  std::map<std::string, size_t> number_of;  // of each shard, by its file name
  for (const std::string& tensor : weight_map.keys()) {
    const std::string shard = weight_map.optional_text(tensor).value_or("");
    expect_basename(shard, tensor, index_path);
    const auto [place, added] = number_of.try_emplace(shard, shards_.size());
    if (added) shards_.push_back(std::make_unique<SafetensorsFile>(folder_ + "/" + shard));
    if (!shards_[place->second]->contains(tensor)) {
      raise(ErrorKind::kCheckpoint, "{} says that tensor '{}' lies in {}, where it is not", index_path,
            shown(tensor), shown(shard));
    }
    shard_of_[tensor] = place->second;
  }
}

std::vector<std::string> HuggingFaceWeights::names() const {
  std::vector<std::string> names;
  for (const auto& [name, shard] : shard_of_) names.push_back(name);
  return names;
}

const SafetensorsFile& HuggingFaceWeights::file_of(const std::string& name) const {
  const auto found = shard_of_.find(name);
  if (found == shard_of_.end()) raise(ErrorKind::kCheckpoint, "{} has no tensor '{}'", folder_, shown(name));
  return *shards_[found->second];
}

void HuggingFaceWeights::read(const std::string& name, const Shape& shape, DType dtype, void* out) const {
  file_of(name).read(name, shape, dtype, out);
}

void HuggingFaceWeights::read_into(const std::string& name, const Tensor& out) const {
  file_of(name).read_into(name, out);
}

}  // namespace longspan
