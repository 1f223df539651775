#include "train/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "train/formats/atomic_file.h"
#include "train/formats/crc32c.h"
#include "train/formats/manifest.pb.h"
#include "train/formats/mapped_file.h"

namespace longspan {

namespace {

namespace fs = std::filesystem;

constexpr int kFormatVersion = 1;
constexpr char kManifestName[] = "manifest.pb";
constexpr char kTensorFile[] = "tensors_00000.bin";
constexpr size_t kMostManifestBytes = size_t{64} << 20;  // some 150 for each tensor
constexpr int64_t kMostSequences = int64_t{1} << 40;

std::string folder_name(int64_t step) { return fmt::format("step_{:08}", step); }

// The step of a finished checkpoint's folder name, or -1.
int64_t step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step_";
  if (name.size() < kPrefix.size() + 8 || name.compare(0, kPrefix.size(), kPrefix) != 0) return -1;
  const std::string digits = name.substr(kPrefix.size());
  if (digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

void set_aside(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path + ".superseded", ignored);
  fs::rename(path, path + ".superseded", ignored);
}

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  raise(ErrorKind::kCheckpoint, "checkpoint {}: {}", path, why);
}

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

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  check(tensor.layout().is_contiguous(), "a checkpoint takes contiguous tensors");
  return {static_cast<const std::byte*>(tensor.raw()), tensor.num_bytes()};
}

formats::TensorEntry entry_for(const NamedTensor& named, uint64_t offset, uint32_t crc) {
  formats::TensorEntry entry;
  entry.set_name(named.name);
  entry.set_dtype(std::string(name(named.tensor.dtype())));
  formats::TensorSlice& slice = *entry.add_slices();
  for (int d = 0; d < named.tensor.rank(); ++d) {
    entry.add_shape(named.tensor.size(d));
    slice.add_begin(0);
    slice.add_extent(named.tensor.size(d));
  }
  slice.set_file(kTensorFile);
  slice.set_offset(offset);
  slice.set_num_bytes(named.tensor.num_bytes());
  slice.set_crc32c(crc);
  return entry;
}

// Tensor by tensor, so that the host holds one of those that are not its own. Returns their checksums.
std::vector<uint32_t> write_tensors(const std::string& path, const std::vector<NamedTensor>& tensors) {
  std::vector<uint32_t> checksums;
  AtomicFile file(path);
  for (const NamedTensor& named : tensors) {
    const Tensor of_host = named.context ? named.context->to_host(named.tensor) : named.tensor;
    file.write(bytes_of(of_host));
    checksums.push_back(crc32c(bytes_of(of_host)));
  }
  file.commit();
  return checksums;
}

formats::Manifest manifest_for(const CheckpointFacts& facts, const std::vector<NamedTensor>& tensors,
                               const std::vector<uint32_t>& checksums) {
  formats::Manifest manifest;
  manifest.set_format_version(kFormatVersion);
  manifest.set_software_version(LONGSPAN_VERSION);
  manifest.set_step(facts.step);
  manifest.set_configuration(facts.configuration);
  manifest.set_model(facts.model);
  manifest.mutable_data()->set_next_sequence(facts.next_sequence);
  manifest.mutable_data()->set_fingerprint(facts.data_fingerprint);
  manifest.mutable_random()->set_seed(facts.seed);
  uint64_t offset = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    *manifest.add_tensors() = entry_for(tensors[i], offset, checksums[i]);
    offset += tensors[i].tensor.num_bytes();
  }
  return manifest;
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
  if (manifest.format_version() != kFormatVersion) {
    fail(path, fmt::format("its format version is {}, this program reads {}", manifest.format_version(), kFormatVersion));
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

// `entry` has the name, the shape and the dtype of the tensor.
void read_slice(const std::string& folder, const formats::TensorEntry& entry, const Tensor& tensor) {
  if (entry.slices_size() != 1) fail(folder, fmt::format("{} is in {} slices, not 1", entry.name(), entry.slices_size()));
  const formats::TensorSlice& slice = entry.slices(0);
  if (!is_name_in_folder(slice.file())) {
    fail(folder, fmt::format("{} names '{}', which is no file of this folder", entry.name(), shown(slice.file())));
  }
  if (slice.num_bytes() != tensor.num_bytes()) {
    fail(folder, fmt::format("{} has {} bytes, not {}", entry.name(), slice.num_bytes(), tensor.num_bytes()));
  }
  const std::string path = folder + "/" + slice.file();
  const uint64_t end = regular_file_bytes(path);
  if (slice.offset() > end || slice.num_bytes() > end - slice.offset()) {
    fail(path, fmt::format("{} has {} bytes at {}, but the file ends at {}", entry.name(), slice.num_bytes(), slice.offset(),
                           end));
  }
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(slice.offset()));
  if (!file.read(static_cast<char*>(tensor.raw()), static_cast<std::streamsize>(slice.num_bytes()))) {
    fail(path, fmt::format("{} bytes of {} at {} cannot be read", slice.num_bytes(), entry.name(), slice.offset()));
  }
  const uint32_t computed = crc32c(bytes_of(tensor));
  if (computed != slice.crc32c()) {
    fail(path, fmt::format("the checksum of {} is {:08x}, its bytes give {:08x}", entry.name(), slice.crc32c(), computed));
  }
}

// After the checkpoint of `step` is safe. What cannot be removed or renamed is no reason to stop.
void tidy(const std::string& output_directory, int64_t step, int64_t keep) {
  int64_t num_kept = 0;
  std::error_code ignored;
  for (const CheckpointFolder& folder : list_checkpoints(output_directory)) {
    if (folder.step > step) {
      set_aside(folder.path);
    } else if (++num_kept > keep && keep > 0) {
      fs::remove_all(folder.path, ignored);
    }
  }
}

// What a process that was killed while it wrote has left.
void remove_unfinished(const std::string& parent) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    if (entry.path().filename().string().find(".tmp-") != std::string::npos) fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace

std::vector<CheckpointFolder> list_checkpoints(const std::string& output_directory) {
  std::vector<CheckpointFolder> folders;
  if (output_directory.empty()) return folders;
  const std::string parent = output_directory + "/checkpoints";
  try {
    for (const auto& entry : fs::directory_iterator(parent)) {
      const int64_t step = step_of(entry.path().filename().string());
      if (step >= 0) folders.push_back({step, entry.path().string()});
    }
  } catch (const fs::filesystem_error& e) {
    // Starting anew over checkpoints that cannot be seen for the moment would lose them.
    if (e.code() != std::errc::no_such_file_or_directory) fail(parent, e.code().message());
  }
  std::sort(folders.begin(), folders.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return folders;
}

std::string save_checkpoint(const std::string& output_directory, const CheckpointFacts& facts,
                            const std::vector<NamedTensor>& tensors, int64_t keep) {
  const std::string parent = output_directory + "/checkpoints";
  const std::string final_path = parent + "/" + folder_name(facts.step);
  const std::string aside = fmt::format("{}.tmp-{}", final_path, getpid());
  try {
    fs::create_directories(parent);
    remove_unfinished(parent);
    fs::create_directory(aside);
    const std::vector<uint32_t> checksums = write_tensors(aside + "/" + kTensorFile, tensors);
    const std::string manifest = manifest_for(facts, tensors, checksums).SerializeAsString();
    const uint32_t crc = crc32c(std::as_bytes(std::span(manifest)));
    {
      AtomicFile file(aside + "/" + kManifestName);
      file.write(std::as_bytes(std::span(&crc, 1)));
      file.write(std::as_bytes(std::span(manifest)));
      file.commit();
    }
    fsync_directory(aside);
    if (fs::exists(final_path)) set_aside(final_path);  // an unsound one, or the run would have resumed from it
    fs::rename(aside, final_path);
    fsync_directory(parent);
  } catch (const fs::filesystem_error& e) {
    std::error_code ignored;
    fs::remove_all(aside, ignored);
    fail(final_path, e.what());
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(aside, ignored);
    throw;
  }
  tidy(output_directory, facts.step, keep);
  return final_path;
}

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
    Shape shape;
    for (const int64_t size : it->shape()) {
      if (shape.rank() == kMaxRank) fail(folder, fmt::format("{} has more than {} dims", named.name, kMaxRank));
      shape.append(size);
    }
    if (!(shape == named.tensor.shape()) || it->dtype() != name(named.tensor.dtype())) {
      fail(folder, fmt::format("{} is {} {}, this model has {} {}", named.name, shown(it->dtype()), shape.to_string(),
                               name(named.tensor.dtype()), named.tensor.shape().to_string()));
    }
    const auto read = [&](const Tensor& of_host) { read_slice(folder, *it, of_host); };
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
