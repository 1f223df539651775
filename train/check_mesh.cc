#include "train/check_mesh.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"

namespace longspan {

namespace {

using Problems = std::vector<FieldProblem>;

constexpr const char* kBatchField = "training.global_batch_sequences";

std::string field_of(Axis axis) { return fmt::format("mesh.{}", name(axis)); }

void check_degrees(const MeshShape& mesh, Problems& problems) {
  for (const Axis axis : kAxes) {
    if (mesh[axis] < 1) {
      problems.push_back({field_of(axis), fmt::format("is {}, which is not a number of ranks; use 1 or more", mesh[axis])});
    }
  }
}

// The most ranks on the data axis, of no more than there are, that share the batch evenly; 0 where none do.
int64_t data_degree_that_divides(const RunSpec& spec) {
  int64_t degree = spec.mesh.data;
  while (degree > 0 && spec.global_batch_sequences % (degree * spec.micro_batch_sequences) != 0) --degree;
  return degree;
}

}  // namespace

// Stages come first: what is said of one of the two works with the other as it is, unless that alone is too much.
std::optional<FieldProblem> problem_of_stages(const RunSpec& spec) {
  const int64_t blocks = spec.model.num_layers + 2, stages = spec.mesh.pipeline, chunks = spec.pipeline.chunks_per_stage;
  if (stages * chunks <= blocks) return {};
  const std::string has = fmt::format("the {} blocks of this model ({} layers, the embedding and the head)", blocks,
                                      spec.model.num_layers);
  if (stages <= blocks) {
    return FieldProblem{"pipeline.chunks_per_stage",
                        fmt::format("is {}, and {} chunks on each of {} stages are more than {}; the nearest that works is {}",
                                    chunks, chunks, stages, has, blocks / stages)};
  }
  const int64_t kept = chunks > blocks ? 1 : chunks;  // chunks, in what is suggested
  std::string nearest = fmt::format("{}", blocks / kept);
  if (chunks > 1) nearest += fmt::format(" with pipeline.chunks_per_stage {}", kept);
  return FieldProblem{"mesh.pipeline", fmt::format("is {}, more than {}; the nearest that works is {}", stages, has, nearest)};
}

std::string problem_of_batch(const RunSpec& spec) {
  const int64_t batch = spec.global_batch_sequences, at_once = spec.mesh.data * spec.micro_batch_sequences;
  if (at_once < 1 || (batch > 0 && batch % at_once == 0)) return "";
  const int64_t below = batch / at_once * at_once, above = below + at_once;
  std::string text = fmt::format("is {}, not a multiple of mesh.data {} x training.micro_batch_sequences {}; the nearest that "
                                 "is: ",
                                 batch, spec.mesh.data, spec.micro_batch_sequences);
  text += below < 1 ? fmt::format("{}", above) : fmt::format("{} or {}", below, above);
  const int64_t degree = data_degree_that_divides(spec);
  return degree > 0 ? text + fmt::format("; or keep it and set mesh.data {}", degree) : text;
}

Problems mesh_problems(const RunSpec& spec, int64_t num_ranks, MeshUse use) {
  Problems problems;
  check_degrees(spec.mesh, problems);
  if (!problems.empty()) return problems;
  if (const std::string mismatch = mesh_mismatch(spec.mesh, num_ranks); !mismatch.empty()) problems.push_back({"mesh", mismatch});
  if (const std::string tensor = problem_of_tensor_degree(spec.model, spec.mesh.tensor); !tensor.empty()) {
    problems.push_back({"mesh.tensor", tensor});
  }
  if (std::optional<FieldProblem> stages = problem_of_stages(spec)) problems.push_back(std::move(*stages));
  const std::string batch = use == MeshUse::kTraining ? problem_of_batch(spec) : "";
  if (!batch.empty()) problems.push_back({kBatchField, batch});
  return problems;
}

void check_mesh(const RunSpec& spec, int64_t num_ranks, MeshUse use) {
  const Problems problems = mesh_problems(spec, num_ranks, use);
  if (problems.empty()) return;
  raise(ErrorKind::kConfiguration, "{}: {}", problems.front().field, problems.front().what);
}

}  // namespace longspan
