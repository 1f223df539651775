#include "train/memory_need.h"

#include <gtest/gtest.h>

#include "tests/core/expect_error.h"

namespace longspan {
namespace {

using test::expect_error;

TEST(MemoryNeed, ParametersThatFitPass) {
  EXPECT_NO_THROW(expect_room_for_parameters(1000, kTrainingBytesPerParameter, 16000));
  EXPECT_NO_THROW(expect_room_for_parameters(int64_t{1} << 60, kTrainingBytesPerParameter, 0)) << "nothing is known";
  expect_error(ErrorKind::kResource, {"1001 parameters", "model.hidden_size"},
               [] { expect_room_for_parameters(1001, kTrainingBytesPerParameter, 16000); });
  expect_error(ErrorKind::kResource, {"at least 18446744073.7 GB", "which has 9.0 GB"},
               [] { expect_room_for_parameters(int64_t{1} << 60, kTrainingBytesPerParameter, 9'000'000'000); });
}

TEST(MemoryNeed, TheTokensOfABatchAreThoseOfOneRank) {
  RunSpec spec;
  spec.model.head_dim = 8;
  spec.data.sequence_length = 1000;
  spec.global_batch_sequences = 8;
  // 16 bytes for each token of a microbatch, and 8 + 4 x 8 for each that a rank keeps.
  EXPECT_NO_THROW(expect_room_for_batch(spec, 16'000 + 320'000));
  expect_error(ErrorKind::kResource, {"data.sequence_length 1000", "training.global_batch_sequences 8"},
               [&] { expect_room_for_batch(spec, 16'000 + 319'999); });
  spec.mesh.data = 2;
  spec.mesh.context = 4;
  EXPECT_NO_THROW(expect_room_for_batch(spec, 16'000 + 40'000));
  spec.data.sequence_length = int64_t{1} << 40;
  spec.global_batch_sequences = 1 << 24;
  EXPECT_THROW(expect_room_for_batch(spec, int64_t{1} << 50), Error) << "beyond 64 bits";
}

}  // namespace
}  // namespace longspan
