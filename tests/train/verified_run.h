// Small runs that are verified on ranks that are threads, with and without planted errors.
#pragma once

#include <gtest/gtest.h>

#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "tests/train/faulty_sum.h"
#include "train/verify.h"
#include "train/verify_shape.h"

namespace longspan::test {

using Kernels = std::shared_ptr<const KernelSet>;

// Of a size at which nothing is shrunk, so that the numbers of transfers are known.
inline RunSpec small_run(int data, int context) {
  RunSpec run;
  run.model.vocabulary_size = 40;
  run.model.hidden_size = 16;
  run.model.num_layers = 2;
  run.model.num_heads = 4;
  run.model.num_kv_heads = 2;
  run.model.head_dim = 8;
  run.model.mlp_size = 24;
  run.data.sequence_length = 48;
  run.mesh = {.pipeline = 1, .data = data, .context = context, .tensor = 1};
  run.global_batch_sequences = data;
  return run;
}

constexpr int kEveryRank = -1;

// What the mesh's ranks are given, rank by rank.
struct Plants {
  int rank = 0;  // or kEveryRank
  CommFaults faults;
  std::shared_ptr<const KernelSet> kernels;
  int nan_in_sum = -1;
};

inline VerifyReport verified(const RunSpec& run, DType dtype, const Plants& plants = {}, const RankResources& all = {}) {
  const Folder folder;
  RunSpec small = shrunk(run);
  const SyntheticDocuments documents(small, folder.path());
  small.data.sources = {{.files = {documents.folder()}}};
  const OneRank one_rank(small, dtype, all);
  std::vector<VerifyReport> reports(static_cast<size_t>(small.mesh.num_ranks()));
  run_in_process(small.mesh.num_ranks(), [&](Communicator& inner) {
    const bool faulty = plants.rank == kEveryRank || inner.rank() == plants.rank;
    const auto faulty_sends = make_faulty_communicator(inner, faulty ? plants.faults : CommFaults{});
    const auto world = std::make_unique<NotANumberInASum>(*faulty_sends, faulty ? plants.nan_in_sum : -1);
    reports[static_cast<size_t>(inner.rank())] =
        one_rank.compare(*world, {.num_threads = 1,
                                  .cpu_level = all.cpu_level,
                                  .memory = nullptr,
                                  .kernels = faulty && plants.kernels ? plants.kernels : all.kernels});
  });
  for (const VerifyReport& report : reports) {
    EXPECT_EQ(report.difference, reports[0].difference);
    EXPECT_EQ(report.where, reports[0].where);
  }
  return reports[0];
}

inline void expect_agreement(const RunSpec& run, const RankResources& resources = {}) {
  SCOPED_TRACE(
      fmt::format("{} {} packing {}", run.mesh.to_string(), name(run.layout), static_cast<int>(run.data.packing)));
  for (const DType dtype : verify_precisions(run.compute_dtype)) {
    const VerifyReport report = verified(run, dtype, {}, resources);
    EXPECT_EQ(report.difference, "");
    EXPECT_LE(report.largest, verify_tolerance(dtype, resources.processor())) << report.where;
    EXPECT_GT(report.num_tensors, 20 * run.mesh.num_ranks());
  }
}

}  // namespace longspan::test
