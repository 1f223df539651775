// precision: AUTO: what is chosen on which processors, and that a run which goes on keeps what it has.
#include "launcher/precision.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "launcher/config_file.h"
#include "tests/support/folder.h"
#include "train/checkpoint.h"

namespace longspan {
namespace {

using config::Precision;

TEST(Precision, IsWhatTheSlowestRankMultiplies) {
  EXPECT_EQ(choose_precision(CpuLevel::kPortable, {}).precision, Precision::FP32);
  EXPECT_EQ(choose_precision(CpuLevel::kAvx2, {}).precision, Precision::FP32);
  EXPECT_EQ(choose_precision(CpuLevel::kAvx512, {}).precision, Precision::FP32);
  EXPECT_EQ(choose_precision(CpuLevel::kAvx512Bf16, {}).precision, Precision::BF16);
  EXPECT_EQ(choose_precision(CpuLevel::kAmx, {}).precision, Precision::BF16);
  EXPECT_EQ(choose_precision(CpuLevel::kAmx, {}).note,
            "precision: AUTO is BF16: the processor of every rank multiplies bfloat16 (amx)");
}

TEST(Precision, StaysThatOfTheCheckpoint) {
  const SettledPrecision slow = choose_precision(CpuLevel::kAvx2, Precision::BF16);
  EXPECT_EQ(slow.precision, Precision::BF16);
  EXPECT_EQ(slow.note, "precision: AUTO is BF16, that of the checkpoint; with these processors FP32 would be faster");
  const SettledPrecision fast = choose_precision(CpuLevel::kAmx, Precision::FP32);
  EXPECT_EQ(fast.precision, Precision::FP32);
  EXPECT_EQ(choose_precision(CpuLevel::kAmx, Precision::BF16).note, "precision: AUTO is BF16, that of the checkpoint");
}

void save(const test::Folder& folder, int64_t step, const std::string& configuration) {
  save_checkpoint(folder.path(), {.step = step, .model = "a model", .configuration = configuration}, {}, 0);
}

TEST(Precision, IsReadFromTheCheckpointThatIsContinued) {
  const test::Folder folder;
  const auto continued = [&](const std::vector<std::string>& overrides, Command command = Command::kTrain) {
    LoadedConfig loaded = parse_config("precision: AUTO checkpoint { resume: LATEST }", "run", overrides);
    loaded.config.set_output_directory(folder.path());
    return continued_precision(loaded.config, command);
  };
  EXPECT_EQ(continued({}), std::nullopt);
  save(folder, 2, "precision: FP32");
  save(folder, 4, "precision: BF16");
  EXPECT_EQ(continued({}), Precision::BF16);
  EXPECT_EQ(continued({"checkpoint.resume=2"}), Precision::FP32);
  EXPECT_EQ(continued({"checkpoint.resume=3"}), std::nullopt);
  EXPECT_EQ(continued({"checkpoint.resume=NONE"}), std::nullopt);
  EXPECT_EQ(continued({"checkpoint.resume=NONE"}, Command::kEvaluate), Precision::BF16);
  EXPECT_EQ(continued({}, Command::kVerify), std::nullopt);
  save(folder, 6, "no configuration");
  EXPECT_EQ(continued({}), Precision::BF16) << "as the weights come from the newest that can be read";
  const std::string manifest = folder.path() + "/checkpoints/step_00000004/manifest.pb";
  std::filesystem::resize_file(manifest, std::filesystem::file_size(manifest) - 1);
  EXPECT_EQ(continued({}), Precision::FP32);
}

}  // namespace
}  // namespace longspan
