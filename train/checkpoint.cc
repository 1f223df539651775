#include "train/checkpoint.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "train/checkpoint_format.h"
#include "train/formats/atomic_file.h"
#include "train/formats/crc32c.h"
#include "train/formats/manifest.pb.h"

namespace longspan {

using namespace checkpoint_format;

namespace {

namespace fs = std::filesystem;

void set_aside(const std::string& path) {
  std::error_code ignored;
  fs::remove_all(path + ".superseded", ignored);
  fs::rename(path, path + ".superseded", ignored);
}

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  check(tensor.layout().is_contiguous(), "a checkpoint takes contiguous tensors");
  return {static_cast<const std::byte*>(tensor.raw()), tensor.num_bytes()};
}

formats::TensorEntry entry_for(const NamedTensor& named, const std::string& file, uint64_t offset, uint32_t crc) {
  const Box box = box_of(named);
  check(box.num_elements() == named.tensor.num_elements(), "{}, {}, has {} elements", named.name, box.to_string(),
        named.tensor.num_elements());
  formats::TensorEntry entry;
  entry.set_name(named.name);
  entry.set_dtype(std::string(name(named.tensor.dtype())));
  formats::TensorSlice& slice = *entry.add_slices();
  for (int d = 0; d < box.whole.rank(); ++d) {
    entry.add_shape(box.whole[d]);
    slice.add_begin(box.begin[d]);
    slice.add_extent(box.extent[d]);
  }
  slice.set_file(file);
  slice.set_offset(offset);
  slice.set_num_bytes(named.tensor.num_bytes());
  slice.set_crc32c(crc);
  return entry;
}

// Each element of the tensor once, in boxes that do not overlap.
void expect_covered(const formats::TensorEntry& entry) {
  Shape whole;
  for (const int64_t size : entry.shape()) whole.append(size);
  std::vector<Box> boxes;
  int64_t num_elements = 0;
  for (const formats::TensorSlice& slice : entry.slices()) {
    Box box = Box::all_of(whole);
    for (int d = 0; d < whole.rank(); ++d) {
      box.begin[d] = slice.begin(d);
      box.extent[d] = slice.extent(d);
    }
    num_elements += box.num_elements();
    for (const Box& other : boxes) {
      check(!overlap(box, other), "two ranks write {} and {} of {}", box.to_string(), other.to_string(), entry.name());
    }
    boxes.push_back(box);
  }
  check(num_elements == whole.num_elements(), "the ranks write {} of the {} elements of {}", num_elements,
        whole.num_elements(), entry.name());
}

// Slices of one tensor together, tensors in the order in which they first appear.
void merge(const std::vector<std::string>& parts, formats::Manifest& manifest) {
  std::map<std::string, int> index_of;
  for (const std::string& part : parts) {
    formats::Manifest of_part;
    check(of_part.ParseFromString(part), "a part of a checkpoint has {} bytes that are no manifest", part.size());
    for (formats::TensorEntry& entry : *of_part.mutable_tensors()) {
      const auto [at, added] = index_of.try_emplace(entry.name(), manifest.tensors_size());
      if (added) {
        manifest.add_tensors()->Swap(&entry);
      } else {
        manifest.mutable_tensors(at->second)->mutable_slices()->MergeFrom(entry.slices());
      }
    }
  }
  for (const formats::TensorEntry& entry : manifest.tensors()) expect_covered(entry);
}

formats::Manifest manifest_of(const CheckpointFacts& facts) {
  formats::Manifest manifest;
  manifest.set_format_version(kVersion);
  manifest.set_software_version(LONGSPAN_VERSION);
  manifest.set_step(facts.step);
  manifest.set_configuration(facts.configuration);
  manifest.set_model(facts.model);
  manifest.mutable_data()->set_next_sequence(facts.next_sequence);
  manifest.mutable_data()->set_fingerprint(facts.data_fingerprint);
  manifest.mutable_random()->set_seed(facts.seed);
  return manifest;
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

template <class Body>
auto with_errors_of(const std::string& path, const Body& body) {
  try {
    return body();
  } catch (const fs::filesystem_error& e) {
    fail(path, e.what());
  }
}

}  // namespace

// The step of a finished checkpoint's folder name, or -1.
int64_t checkpoint_format::step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step_";
  if (name.size() < kPrefix.size() + 8 || name.compare(0, kPrefix.size(), kPrefix) != 0) return -1;
  const std::string digits = name.substr(kPrefix.size());
  if (digits.size() > 18 || digits.find_first_not_of("0123456789") != std::string::npos) return -1;
  return std::stoll(digits);
}

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

std::string checkpoint_path(const std::string& output_directory, int64_t step) {
  return fmt::format("{}/checkpoints/step_{:08}", output_directory, step);
}

std::string begin_checkpoint(const std::string& output_directory, int64_t step) {
  const std::string parent = output_directory + "/checkpoints";
  const std::string unfinished = fmt::format("{}.tmp-{}", checkpoint_path(output_directory, step), getpid());
  return with_errors_of(unfinished, [&] {
    fs::create_directories(parent);
    remove_unfinished(parent);
    fs::create_directory(unfinished);
    return unfinished;
  });
}

// Tensor by tensor, so that the host holds one of those that are not its own.
std::string write_part(const std::string& unfinished, int part, const std::vector<NamedTensor>& tensors) {
  formats::Manifest entries;
  if (tensors.empty()) return entries.SerializeAsString();
  const std::string file_name = fmt::format("tensors_{:05}.bin", part);
  AtomicFile file(unfinished + "/" + file_name);
  uint64_t offset = 0;
  for (const NamedTensor& named : tensors) {
    const Tensor of_host = named.context ? named.context->to_host(named.tensor) : named.tensor;
    file.write(bytes_of(of_host));
    *entries.add_tensors() = entry_for(named, file_name, offset, crc32c(bytes_of(of_host)));
    offset += named.tensor.num_bytes();
  }
  file.commit();
  return entries.SerializeAsString();
}

std::string finish_checkpoint(const std::string& unfinished, const std::string& output_directory, const CheckpointFacts& facts,
                              const std::vector<std::string>& parts, int64_t keep) {
  const std::string parent = output_directory + "/checkpoints";
  const std::string final_path = checkpoint_path(output_directory, facts.step);
  formats::Manifest manifest = manifest_of(facts);
  merge(parts, manifest);
  const std::string text = manifest.SerializeAsString();
  const uint32_t crc = crc32c(std::as_bytes(std::span(text)));
  with_errors_of(final_path, [&] {
    AtomicFile file(unfinished + "/" + kManifestName);
    file.write(std::as_bytes(std::span(&crc, 1)));
    file.write(std::as_bytes(std::span(text)));
    file.commit();
    fsync_directory(unfinished);
    if (fs::exists(final_path)) set_aside(final_path);  // an unsound one, or the run would have resumed from it
    fs::rename(unfinished, final_path);
    fsync_directory(parent);
  });
  tidy(output_directory, facts.step, keep);
  return final_path;
}

void discard_checkpoint(const std::string& unfinished) noexcept {
  std::error_code ignored;
  fs::remove_all(unfinished, ignored);
}

std::string save_checkpoint(const std::string& output_directory, const CheckpointFacts& facts,
                            const std::vector<NamedTensor>& tensors, int64_t keep) {
  const std::string unfinished = begin_checkpoint(output_directory, facts.step);
  try {
    return finish_checkpoint(unfinished, output_directory, facts, {write_part(unfinished, 0, tensors)}, keep);
  } catch (...) {
    discard_checkpoint(unfinished);
    throw;
  }
}

}  // namespace longspan
