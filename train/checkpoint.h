// Checkpoints: a folder step_00000100 with a manifest (train/formats/manifest.proto) and the tensors' bytes, in parts: each rank
// writes what it alone holds into a file of its own, and each reads the boxes that it needs, whoever wrote them.
//
// Writing: into a sibling folder of another name, every file and the folder fsynced, then renamed, then the parent fsynced; a
// crash leaves either the whole checkpoint or none. Older ones are removed only after that. Reading checks every length
// against the file and every CRC32C. All errors are Error(kCheckpoint) and name the file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/runtime/context.h"
#include "core/tensor/box.h"

namespace longspan {

struct NamedTensor {
  std::string name;
  Tensor tensor;  // contiguous, float32 or float64
  const Context* context = nullptr;  // whose memory the tensor is in; null: the host's
  Box box = {};                      // what the tensor is of the named one, of which there may be several; default: all of it
};

struct CheckpointFacts {
  int64_t step = 0;  // steps done
  int64_t next_sequence = 0;
  int64_t data_fingerprint = 0;
  uint64_t seed = 0;
  std::string model;  // every field of its shape
  std::string configuration;
};

struct CheckpointFolder {
  int64_t step = 0;
  std::string path;
};

// Those of an output directory, newest first, whether valid or not; unfinished ones are not listed.
std::vector<CheckpointFolder> list_checkpoints(const std::string& output_directory);

// A checkpoint is begun by one process, written in parts by as many as hold something, and finished by the first when all of
// them are done. One run at a time writes into an output directory.

// Returns the unfinished folder's path.
std::string begin_checkpoint(const std::string& output_directory, int64_t step);
// Returns what the manifest says of the part. Parts are numbered; a part may be empty.
std::string write_part(const std::string& unfinished, int part, const std::vector<NamedTensor>& tensors);
// Returns the folder's path. Raises Error(kInternal) where the parts do not cover a tensor just once. Keeps the newest `keep`
// checkpoints up to this step (0: all); those of later steps, which this run did not come from, are set aside as
// step_00000200.superseded.
std::string finish_checkpoint(const std::string& unfinished, const std::string& output_directory, const CheckpointFacts& facts,
                              const std::vector<std::string>& parts, int64_t keep);
void discard_checkpoint(const std::string& unfinished) noexcept;

// All of that by one process, which holds everything.
std::string save_checkpoint(const std::string& output_directory, const CheckpointFacts& facts,
                            const std::vector<NamedTensor>& tensors, int64_t keep);

std::string checkpoint_path(const std::string& output_directory, int64_t step);

// The configuration of the run that wrote it, as text.
std::string stored_configuration(const std::string& folder);

// Reads the tensors, each of which must be there with just this dtype and shape of the whole; further ones are ignored. Either
// all are filled from sound bytes, or an error is raised and their contents are void. `model` must be what the checkpoint says of
// its model: shapes alone do not tell heads or rotary angles apart.
CheckpointFacts load_checkpoint(const std::string& folder, const std::vector<NamedTensor>& tensors,
                                const std::string& model);

}  // namespace longspan
