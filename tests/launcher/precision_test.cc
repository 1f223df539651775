// precision: AUTO: what is chosen on which processors, and that a run which goes on keeps what it has; cpu.level: AUTO: that
// ranks on different processors use the same.
#include "launcher/precision.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "launcher/config_file.h"
#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "train/checkpoint.h"

namespace longspan {
namespace {

using config::Precision;

TEST(Precision, IsWhatTheSlowestRankMultiplies) {
  EXPECT_EQ(choose_precision(config::RunConfig::CPU, CpuLevel::kPortable, {}).precision, Precision::FP32);
  EXPECT_EQ(choose_precision(config::RunConfig::CPU, CpuLevel::kAvx2, {}).precision, Precision::FP32);
  EXPECT_EQ(choose_precision(config::RunConfig::CPU, CpuLevel::kAvx512, {}).precision, Precision::FP32);
  EXPECT_EQ(choose_precision(config::RunConfig::CPU, CpuLevel::kAvx512Bf16, {}).precision, Precision::BF16);
  EXPECT_EQ(choose_precision(config::RunConfig::CPU, CpuLevel::kAmx, {}).precision, Precision::BF16);
  EXPECT_EQ(choose_precision(config::RunConfig::CPU, CpuLevel::kAmx, {}).note,
            "precision: AUTO is BF16: the processor of every rank multiplies bfloat16 (amx)");
}

TEST(Precision, StaysThatOfTheCheckpoint) {
  const SettledPrecision slow = choose_precision(config::RunConfig::CPU, CpuLevel::kAvx2, Precision::BF16);
  EXPECT_EQ(slow.precision, Precision::BF16);
  EXPECT_EQ(slow.note, "precision: AUTO is BF16, that of the checkpoint; with these processors FP32 would be faster");
  const SettledPrecision fast = choose_precision(config::RunConfig::CPU, CpuLevel::kAmx, Precision::FP32);
  EXPECT_EQ(fast.precision, Precision::FP32);
  EXPECT_EQ(choose_precision(config::RunConfig::CPU, CpuLevel::kAmx, Precision::BF16).note,
            "precision: AUTO is BF16, that of the checkpoint");
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
  for (const Command command : {Command::kEvaluate, Command::kGenerate}) {
    EXPECT_EQ(continued({"checkpoint.resume=NONE"}, command), Precision::BF16);
    EXPECT_EQ(continued({"checkpoint.resume=2"}, command), Precision::FP32);
    EXPECT_EQ(continued({"checkpoint.resume=3"}, command), std::nullopt);
  }
  EXPECT_EQ(continued({}, Command::kVerify), std::nullopt);
  EXPECT_EQ(continued({"precision=BF16"}), std::nullopt) << "is not asked for";
  save(folder, 6, "no configuration");
  EXPECT_EQ(continued({}), Precision::BF16) << "as the weights come from the newest that can be read";
  const std::string manifest = folder.path() + "/checkpoints/step_00000004/manifest.pb";
  std::filesystem::resize_file(manifest, std::filesystem::file_size(manifest) - 1);
  EXPECT_EQ(continued({}), Precision::FP32);
}

TEST(Precision, NamesAFolderOfCheckpointsThatCannotBeRead) {
  const test::Folder folder;
  config::RunConfig config;
  config.set_precision(Precision::AUTO);
  config.mutable_checkpoint()->set_resume(config::Checkpoint::LATEST);
  config.set_output_directory(folder.path());
  std::ofstream(folder.path() + "/checkpoints") << "a file";
  EXPECT_THROW(static_cast<void>(continued_precision(config, Command::kEvaluate)), Error);
}

// What each of some ranks settles on whose processors run these levels.
std::vector<SettledChoices> settle(const config::RunConfig& given, Command command, const std::vector<CpuLevel>& levels,
                                   std::vector<Precision::Type>* precisions = nullptr,
                                   std::optional<Precision::Type> continued = {}) {
  std::vector<SettledChoices> settled(levels.size());
  std::vector<Precision::Type> found(levels.size());
  run_in_process(static_cast<int>(levels.size()), [&](Communicator& world) {
    config::RunConfig config = given;
    const auto rank = static_cast<size_t>(world.rank());
    settled[rank] = settle_choices(config, command, levels[rank], rank == 0 ? continued : std::nullopt, world);
    found[rank] = config.precision();
  });
  if (precisions) *precisions = found;
  return settled;
}

TEST(Settle, RanksOnDifferentProcessorsUseTheSameInstructions) {
  const std::vector<CpuLevel> levels = {CpuLevel::kAmx, CpuLevel::kAvx2, CpuLevel::kAvx512};
  for (const SettledChoices& rank : settle({}, Command::kTrain, levels)) {
    EXPECT_EQ(rank.cpu_level, CpuLevel::kAvx2);
    EXPECT_EQ(rank.notes, std::vector<std::string>{
                              "cpu.level: AUTO is avx2, the fastest that every rank runs; some could run amx"});
  }
  for (const SettledChoices& rank : settle({}, Command::kTrain, {CpuLevel::kAvx512, CpuLevel::kAvx512})) {
    EXPECT_EQ(rank.cpu_level, CpuLevel::kAvx512);
    EXPECT_EQ(rank.notes.size(), 0u);
  }
}

// Ranks that were forced to different ones are told so when training compares their configurations.
TEST(Settle, ALevelThatIsForcedStays) {
  config::RunConfig config;
  config.mutable_cpu()->set_level(config::Cpu::AVX512);
  const auto settled = settle(config, Command::kTrain, {CpuLevel::kAvx512, CpuLevel::kAvx2});
  EXPECT_EQ(settled[0].cpu_level, CpuLevel::kAvx512);
  EXPECT_EQ(settled[1].cpu_level, CpuLevel::kAvx2);
  EXPECT_EQ(settled[0].notes.size(), 0u);
}

TEST(Settle, AllRanksTakeThePrecisionThatTheFirstFound) {
  config::RunConfig config;
  config.set_precision(Precision::AUTO);
  const std::vector<CpuLevel> levels = {CpuLevel::kAvx512, CpuLevel::kAmx};
  std::vector<Precision::Type> found;
  settle(config, Command::kEvaluate, levels, &found);
  EXPECT_EQ(found, std::vector<Precision::Type>(2, Precision::FP32));
  const auto settled = settle(config, Command::kEvaluate, levels, &found, Precision::BF16);
  EXPECT_EQ(found, std::vector<Precision::Type>(2, Precision::BF16));
  EXPECT_EQ(settled[1].notes.back(),
            "precision: AUTO is BF16, that of the checkpoint; with these processors FP32 would be faster");
  settle(config, Command::kBench, levels, &found);
  EXPECT_EQ(found, std::vector<Precision::Type>(2, Precision::AUTO)) << "which is both";
}

}  // namespace
}  // namespace longspan
