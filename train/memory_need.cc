#include "train/memory_need.h"

#include "core/base/error.h"

namespace longspan {

namespace {

// Sizes come from a user and may multiply to more than 64 bits hold.
double as_double(int64_t value) { return static_cast<double>(value); }
double gigabytes(double bytes) { return bytes / 1e9; }

bool fits(double bytes, int64_t available_bytes) { return available_bytes == 0 || bytes <= as_double(available_bytes); }

}  // namespace

void expect_room_for_parameters(int64_t num_parameters, int64_t bytes_per_parameter, int64_t available_bytes) {
  const double bytes = as_double(num_parameters) * as_double(bytes_per_parameter);
  if (fits(bytes, available_bytes)) return;
  raise(ErrorKind::kResource,
        "the {} parameters of the model need at least {:.1f} GB of memory on each rank, which has {:.1f} GB: lower "
        "model.num_layers, model.hidden_size, model.mlp_size or model.vocabulary_size, or start fewer ranks on each host",
        num_parameters, gigabytes(bytes), gigabytes(as_double(available_bytes)));
}

void expect_room_for_batch(const RunSpec& spec, int64_t available_bytes) {
  // Of every token of a microbatch: id, target, position; of those that a rank keeps: id, target, rotary angles.
  constexpr double kTableBytes = 16;
  const double kept_bytes = 8 + 4 * as_double(spec.model.head_dim);
  const double length = as_double(spec.data.sequence_length);
  const double sequences = as_double(spec.global_batch_sequences) / spec.mesh.data;
  const double table = kTableBytes * length * as_double(spec.micro_batch_sequences);
  const double kept = kept_bytes * length * sequences / spec.mesh.context;
  if (fits(table + kept, available_bytes)) return;
  raise(ErrorKind::kResource,
        "data.sequence_length {} and training.global_batch_sequences {} need at least {:.1f} GB of memory on each rank, "
        "which has {:.1f} GB: lower one of them, or start more hosts",
        spec.data.sequence_length, spec.global_batch_sequences, gigabytes(table + kept), gigabytes(as_double(available_bytes)));
}

}  // namespace longspan
