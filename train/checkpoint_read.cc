#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "train/checkpoint_format.h"
#include "train/formats/crc32c.h"
#include "train/formats/manifest.pb.h"
#include "train/formats/mapped_file.h"

namespace longspan {

using namespace checkpoint_format;

namespace {

namespace fs = std::filesystem;

constexpr size_t kMostManifestBytes = size_t{64} << 20;  // some 150 for each slice
constexpr int64_t kMostSequences = int64_t{1} << 40;

// What "name value name value ..." says and `other` does not.
std::string only_in(const std::string& text, const std::string& other) {
  std::istringstream words(text);
  std::string found;
  for (std::string name, value; words >> name >> value;) {
    if ((" " + other + " ").find(fmt::format(" {} {} ", name, value)) != std::string::npos) continue;
    found += fmt::format("{}{} {}", found.empty() ? "" : ", ", name, value);
  }
  return found.empty() ? "nothing else" : found;
}

formats::Manifest read_manifest(const std::string& folder) {
  const std::string path = folder + "/" + kManifestName;
  const MappedFile file(path, ErrorKind::kCheckpoint);
  if (file.size_bytes() < 4 || file.size_bytes() > kMostManifestBytes) {
    fail(path, fmt::format("{} bytes are no manifest; it has from 4 to {}", file.size_bytes(), kMostManifestBytes));
  }
  uint32_t stored = 0;
  std::memcpy(&stored, file.bytes().data(), 4);
  const auto message = file.bytes().subspan(4);
  const uint32_t computed = crc32c(message);
  if (stored != computed) fail(path, fmt::format("its checksum is {:08x}, its bytes give {:08x}", stored, computed));
  formats::Manifest manifest;
  if (!manifest.ParseFromArray(message.data(), static_cast<int>(message.size()))) fail(path, "it cannot be parsed");
  if (manifest.format_version() != kVersion) {
    fail(path, fmt::format("its format version is {}, this program reads {}", manifest.format_version(), kVersion));
  }
  return manifest;
}

CheckpointFacts facts_of(const formats::Manifest& manifest) {
  return {.step = manifest.step(),
          .next_sequence = manifest.data().next_sequence(),
          .data_fingerprint = manifest.data().fingerprint(),
          .seed = manifest.random().seed(),
          .model = manifest.model(),
          .configuration = manifest.configuration()};
}

// Opening a pipe would wait for its writer.
uint64_t regular_file_bytes(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error) fail(path, error.message());
  if (!fs::is_regular_file(status)) fail(path, "it is a folder, a pipe or a device, not a regular file");
  const uint64_t num_bytes = fs::file_size(path, error);
  if (error) fail(path, error.message());
  return num_bytes;
}

bool is_name_in_folder(const std::string& name) {
  return !name.empty() && name != "." && !name.starts_with("..") && name.find('/') == std::string::npos &&
         std::none_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; });
}

Shape shape_of(const std::string& folder, const std::string& name, const google::protobuf::RepeatedField<int64_t>& sizes) {
  Shape shape;
  for (const int64_t size : sizes) {
    if (shape.rank() == kMaxRank) fail(folder, fmt::format("{} has more than {} dims", name, kMaxRank));
    shape.append(size);
  }
  return shape;
}

Box box_of(const std::string& folder, const formats::TensorEntry& entry, const formats::TensorSlice& slice, const Shape& whole) {
  const Box box = {.whole = whole,
                   .begin = shape_of(folder, entry.name(), slice.begin()),
                   .extent = shape_of(folder, entry.name(), slice.extent())};
  bool inside = box.begin.rank() == whole.rank() && box.extent.rank() == whole.rank();
  for (int d = 0; inside && d < whole.rank(); ++d) {
    inside = box.begin[d] >= 0 && box.begin[d] <= whole[d] && box.extent[d] >= 0 && box.extent[d] <= whole[d] - box.begin[d];
  }
  if (!inside) {
    fail(folder, fmt::format("{} of {} has a slice of {} at {}", entry.name(), whole.to_string(), box.extent.to_string(),
                             box.begin.to_string()));
  }
  return box;
}

// All bytes of a slice, into memory that has room for them.
void read_bytes(const std::string& folder, const std::string& name, const formats::TensorSlice& slice, void* into) {
  if (!is_name_in_folder(slice.file())) {
    fail(folder, fmt::format("{} names '{}', which is no file of this folder", name, shown(slice.file())));
  }
  const std::string path = folder + "/" + slice.file();
  const uint64_t end = regular_file_bytes(path);
  if (slice.offset() > end || slice.num_bytes() > end - slice.offset()) {
    fail(path, fmt::format("{} has {} bytes at {}, but the file ends at {}", name, slice.num_bytes(), slice.offset(), end));
  }
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(slice.offset()));
  if (!file.read(static_cast<char*>(into), static_cast<std::streamsize>(slice.num_bytes()))) {
    fail(path, fmt::format("{} bytes of {} at {} cannot be read", slice.num_bytes(), name, slice.offset()));
  }
  const uint32_t computed = crc32c({static_cast<const std::byte*>(into), slice.num_bytes()});
  if (computed != slice.crc32c()) {
    fail(path, fmt::format("the checksum of {} is {:08x}, its bytes give {:08x}", name, slice.crc32c(), computed));
  }
}

// `entry` has the name, the shape and the dtype of the tensor that `into` is this box of. A checksum covers a slice, so a slice
// of which the box has a part is read whole.
void read_box(const std::string& folder, const formats::TensorEntry& entry, const Box& box, const Tensor& into) {
  const size_t element_bytes = size_bytes(into.dtype());
  int64_t num_found = 0;
  std::vector<Box> found;
  std::vector<std::byte> buffer;
  for (const formats::TensorSlice& slice : entry.slices()) {
    const Box stored = box_of(folder, entry, slice, box.whole);
    const size_t num_bytes = static_cast<size_t>(stored.num_elements()) * element_bytes;
    if (slice.num_bytes() != num_bytes) {
      fail(folder, fmt::format("{} has {} bytes, not {}", entry.name(), slice.num_bytes(), num_bytes));
    }
    const std::optional<Box> both = overlap(stored, box);
    if (!both) continue;
    num_found += both->num_elements();
    const bool twice = std::any_of(found.begin(), found.end(), [&](const Box& other) { return overlap(other, *both); });
    if (twice) fail(folder, fmt::format("{} has elements in more than one slice", entry.name()));
    found.push_back(*both);
    if (stored == box) {  // as it was written
      read_bytes(folder, entry.name(), slice, into.raw());
      continue;
    }
    buffer.resize(num_bytes);
    read_bytes(folder, entry.name(), slice, buffer.data());
    copy_overlap(stored, buffer.data(), box, into.raw(), element_bytes);
  }
  if (num_found != box.num_elements()) {
    fail(folder, fmt::format("{} of the {} elements of {}, {}, are in it", num_found, box.num_elements(), entry.name(),
                             box.to_string()));
  }
}

}  // namespace

std::string stored_configuration(const std::string& folder) { return read_manifest(folder).configuration(); }

CheckpointFacts load_checkpoint(const std::string& folder, const std::vector<NamedTensor>& tensors,
                                const std::string& model) {
  const formats::Manifest manifest = read_manifest(folder);
  if (manifest.model() != model) {
    fail(folder, fmt::format("its model has {}, this one {}: leave the model as it was, or name another output_directory",
                             shown(only_in(manifest.model(), model), 1000), only_in(model, manifest.model())));
  }
  for (const NamedTensor& named : tensors) {
    const auto it = std::find_if(manifest.tensors().begin(), manifest.tensors().end(),
                                 [&](const auto& entry) { return entry.name() == named.name; });
    if (it == manifest.tensors().end()) fail(folder, fmt::format("it has no tensor {}", named.name));
    const Box box = box_of(named);
    const Shape shape = shape_of(folder, named.name, it->shape());
    if (!(shape == box.whole) || it->dtype() != name(named.tensor.dtype())) {
      fail(folder, fmt::format("{} is {} {}, this model has {} {}", named.name, shown(it->dtype()), shape.to_string(),
                               name(named.tensor.dtype()), box.whole.to_string()));
    }
    const auto read = [&](const Tensor& of_host) { read_box(folder, *it, box, of_host); };
    named.context ? named.context->write_from_host(named.tensor, read) : read(named.tensor);
  }
  const int64_t named_step = step_of(fs::path(folder).filename().string());
  if (manifest.step() != named_step) {
    fail(folder, fmt::format("its manifest says step {}, its name {}", manifest.step(), named_step));
  }
  const int64_t next = manifest.data().next_sequence();
  if (next < 0 || next > kMostSequences) {
    fail(folder, fmt::format("its next sequence is {}; possible are 0 to {}", next, kMostSequences));
  }
  return facts_of(manifest);
}

}  // namespace longspan
