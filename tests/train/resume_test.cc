// Runs that stop and go on: the same losses to the last bit on the same mesh, and to a tolerance on another.
#include <gtest/gtest.h>

#include "core/base/random.h"
#include "parallel/comm/backends.h"
#include "tests/support/folder.h"
#include "tests/train/history.h"
#include "train/agreement.h"
#include "train/checkpoint.h"
#include "train/train.h"

namespace longspan {
namespace {

using namespace test::history;

void flip_a_byte(const std::string& path) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(1234);
  const int byte = file.get();
  file.seekp(1234);
  file.put(static_cast<char>(byte ^ 1));
}

TEST(Resume, RepeatsToTheLastBit) {
  const test::Folder folder;
  const History once = run(small_run(folder, "once"), 1, 2), again = run(small_run(folder, "again"), 1, 2);
  ASSERT_EQ(once.losses.size(), 20u);
  EXPECT_EQ(once.losses, again.losses);
  EXPECT_LT(once.losses.back(), once.losses.front() - 1) << "it learns";
}

TEST(Resume, StoppedAndStartedAgainIsTheSameRun) {
  const test::Folder folder;
  const History whole = run(small_run(folder, "whole"), 2, 2);
  RunSpec spec = small_run(folder, "stopped");
  const History first = run(spec, 2, 2, 7);
  EXPECT_EQ(first.outcome, TrainOutcome::kStopped);
  ASSERT_EQ(first.losses.size(), 7u) << "one rank's wish stops all";
  const History second = run(spec, 2, 2);
  EXPECT_EQ(second.outcome, TrainOutcome::kDone);
  std::vector<double> joined = first.losses;
  joined.insert(joined.end(), second.losses.begin(), second.losses.end());
  EXPECT_EQ(joined, whole.losses);
  const History third = run(spec, 2, 2);
  EXPECT_TRUE(third.losses.empty()) << "a finished run has nothing left to do";
  // metrics.jsonl has each step once.
  const std::string metrics = test::read_file(spec.output_directory + "/metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 20);
}

// Whatever ends a run after its checkpoint is there, the step has its line.
TEST(Resume, NoLineIsLostBetweenACheckpointAndTheNextStep) {
  struct Ends final : TrainObserver {
    void on_checkpoint(int64_t, const std::string&, double) override { throw std::runtime_error("the end"); }
  };
  const test::Folder folder;
  RunSpec spec = small_run(folder, "ended");
  spec.num_steps = 5;
  spec.checkpoint.interval_steps = 2;
  run_in_process(1, [&](Communicator& world) {
    Ends ends;
    EXPECT_THROW(train(spec, world, {}, ends, [] { return false; }), std::runtime_error);
  });
  EXPECT_EQ(run(spec, 1, 1).losses.size(), 3u);
  const std::string metrics = test::read_file(spec.output_directory + "/metrics.jsonl");
  for (int step = 1; step <= 5; ++step) EXPECT_NE(metrics.find(fmt::format("\"step\": {},", step)), std::string::npos) << step;
}

TEST(Resume, AnotherMeshGoesOn) {
  const test::Folder folder;
  const History whole = run(small_run(folder, "whole"), 1, 1);
  for (const auto& [data, context] : {std::pair{1, 2}, {1, 3}, {2, 1}, {2, 2}, {4, 1}}) {
    const History other = run(small_run(folder, fmt::format("{}x{}", data, context)), data, context);
    for (size_t i = 0; i < 20; ++i) EXPECT_NEAR(other.losses[i], whole.losses[i], 1e-4 * whole.losses[i]) << i;
  }
  RunSpec spec = small_run(folder, "moved");
  const History first = run(spec, 2, 2, 9), second = run(spec, 1, 3);
  ASSERT_EQ(first.losses.size() + second.losses.size(), 20u);
  for (size_t i = 0; i < second.losses.size(); ++i) {
    EXPECT_NEAR(second.losses[i], whole.losses[9 + i], 1e-4 * whole.losses[9 + i]);
  }
}

TEST(Precision, Bfloat16LearnsAsFloat32Does) {
  const test::Folder folder;
  const History full = run(small_run(folder, "fp32"), 1, 2);
  RunSpec spec = small_run(folder, "bf16");
  spec.compute_dtype = DType::kBFloat16;
  const History half = run(spec, 1, 2);
  ASSERT_EQ(half.losses.size(), 20u);
  for (size_t i = 0; i < 20; ++i) EXPECT_NEAR(half.losses[i], full.losses[i], 0.01 * full.losses[i]) << "step " << i + 1;
  // Master weights are stored in fp32, so a bf16 run resumes to the last bit, too.
  RunSpec stopped = small_run(folder, "bf16_stopped");
  stopped.compute_dtype = DType::kBFloat16;
  RunSpec whole = stopped;
  whole.output_directory = folder / "bf16_one";
  const History one = run(whole, 1, 2), begun = run(stopped, 1, 2, 8), rest = run(stopped, 1, 2);
  std::vector<double> joined = begun.losses;
  joined.insert(joined.end(), rest.losses.begin(), rest.losses.end());
  EXPECT_EQ(joined, one.losses);
}

TEST(Resume, DamagedCheckpointsArePassedOver) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.checkpoint.interval_steps = 5;
  spec.checkpoint.keep = 2;
  const History whole = run(spec, 1, 1);
  const auto checkpoints = list_checkpoints(spec.output_directory);
  ASSERT_EQ(checkpoints.size(), 2u) << "older ones are removed";
  EXPECT_EQ(checkpoints[0].step, 20);
  flip_a_byte(checkpoints[0].path + "/tensors_00000.bin");
  const History resumed = run(spec, 1, 1);
  EXPECT_NE(resumed.notes.find("checksum"), std::string::npos) << resumed.notes;
  ASSERT_EQ(resumed.losses.size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(resumed.losses[i], whole.losses[15 + i]);
}

TEST(Resume, WhatWasJustWrittenIsKept) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.checkpoint.interval_steps = 5;
  spec.num_steps = 10;
  run(spec, 1, 1);
  flip_a_byte(list_checkpoints(spec.output_directory)[0].path + "/tensors_00000.bin");
  spec.checkpoint.keep = 1;
  spec.checkpoint.interval_steps = 3;
  spec.num_steps = 8;  // resumes at 5, and ends before the damaged step 10
  run(spec, 1, 1);
  const auto left = list_checkpoints(spec.output_directory);
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(left[0].step, 8);
  EXPECT_TRUE(std::filesystem::exists(spec.output_directory + "/checkpoints/step_00000010.superseded"));
}

TEST(Resume, AnOlderStepIsResumedOnlyWhenTheNewerOnesAreGone) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.checkpoint.interval_steps = 5;
  spec.num_steps = 10;
  const History whole = run(spec, 1, 1);
  spec.checkpoint.resume = CheckpointSpec::Resume::kStep;
  spec.checkpoint.resume_step = 5;
  EXPECT_THROW(run(spec, 1, 1), Error);
  std::filesystem::remove_all(list_checkpoints(spec.output_directory)[0].path);
  const History again = run(spec, 1, 1);
  ASSERT_EQ(again.losses.size(), 5u);
  EXPECT_EQ(again.losses.back(), whole.losses.back());
}

TEST(Resume, CheckpointsThatCannotBeSeenAreNotTakenForNone) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.num_steps = 1;
  std::filesystem::create_directories(spec.output_directory);
  std::filesystem::create_symlink("checkpoints", spec.output_directory + "/checkpoints");  // a loop
  EXPECT_THROW(run(spec, 1, 1), Error);
}

TEST(Resume, AnotherGlobalBatchGoesOnWithTheNextSequence) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.num_steps = 4;
  spec.optimizer.schedule = ScheduleType::kConstant;
  run(spec, 1, 1);
  spec.global_batch_sequences = 2;
  spec.num_steps = 6;
  run(spec, 1, 1);
  // 4 steps of 4 sequences, then 2 of 2: the next is number 20, as after 5 steps of 4.
  const auto facts = [&](const RunSpec& s) {
    const auto folders = list_checkpoints(s.output_directory);
    return load_checkpoint(folders[0].path, {}, to_string(s.model));
  };
  EXPECT_EQ(facts(spec).step, 6);
  EXPECT_EQ(facts(spec).next_sequence, 20);
}

TEST(Resume, AModelOfTheSameShapesIsStillAnother) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.num_steps = 1;
  run(spec, 1, 1);
  spec.num_steps = 2;
  const auto expect_refused = [&](const RunSpec& other, const char* what) {
    try {
      run(other, 1, 1);
      FAIL() << "another model was resumed";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kCheckpoint);
      EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
    }
  };
  RunSpec other = spec;
  other.model.rope.theta = 77;
  expect_refused(other, "rope.theta 77");
  other = spec;
  other.model.num_heads = 2;
  other.model.num_kv_heads = 1;
  other.model.head_dim = 16;
  expect_refused(other, "head_dim 16");
}

TEST(Resume, OtherTextOfTheSameLengthsIsNoticed) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.num_steps = 1;
  run(spec, 1, 1);
  folder.write("b", some_text(9, 90));
  spec.num_steps = 2;
  EXPECT_NE(run(spec, 1, 1).notes.find("have changed since the checkpoint"), std::string::npos);
}

TEST(Agreement, RanksWithDifferentFilesOrConfigurationsAreRefused) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  const auto expect_kind = [&](ErrorKind kind, const std::function<void(RunSpec&)>& change) {
    try {
      run_in_process(2, [&](Communicator& world) {
        RunSpec mine = spec;
        mine.mesh.context = 2;
        if (world.rank() == 1) change(mine);
        TrainObserver silent;
        train(mine, world, {}, silent, [] { return false; });
      });
      FAIL() << "accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind) << e.what();
    }
  };
  const std::string other = folder.write("b2", some_text(7, 90));
  expect_kind(ErrorKind::kData, [&](RunSpec& s) { s.data.sources[0].files[1] = other; });
  expect_kind(ErrorKind::kConfiguration, [](RunSpec& s) { s.resolved_configuration = "seed: 2"; });
}

TEST(Train, SequencesShorterThanTheRingLeaveRanksEmpty) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "one");
  spec.data.sequence_length = 2;
  spec.num_steps = 5;
  const History one = run(spec, 1, 1);
  spec.output_directory = folder / "many";
  const History many = run(spec, 1, 4);
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(many.losses[i], one.losses[i], 1e-5 * one.losses[i]);
}

TEST(Resume, NoSoundCheckpointIsAnErrorThatNamesIt) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.num_steps = 2;
  run(spec, 1, 1);
  const auto checkpoints = list_checkpoints(spec.output_directory);
  std::filesystem::resize_file(checkpoints[0].path + "/tensors_00000.bin", 100);
  try {
    run(spec, 1, 1);
    FAIL() << "a truncated checkpoint was resumed";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kCheckpoint);
    EXPECT_NE(std::string(e.what()).find("tensors_00000.bin"), std::string::npos) << e.what();
  }
  spec.checkpoint.resume = CheckpointSpec::Resume::kNone;
  EXPECT_THROW(run(spec, 1, 1), Error) << "nothing is overwritten";
}

// What `body` raises on each of three ranks, of which none is left waiting for another.
std::vector<std::string> raised_on_every_rank(ErrorKind kind, const std::function<void(Communicator&)>& body) {
  std::vector<std::string> messages(3);
  run_in_process(3, [&](Communicator& world) {
    try {
      body(world);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind) << "rank " << world.rank() << ": " << e.what();
      messages[static_cast<size_t>(world.rank())] = e.what();
    }
  });
  return messages;
}

TEST(Resume, WhatFailsWhereFilesAreReadEndsEveryRankAlike) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.num_steps = 2;
  spec.checkpoint.interval_steps = 1;
  run(spec, 1, 1);
  spec.mesh.context = 3;
  const auto training = [&](Communicator& world) {
    TrainObserver silent;
    train(spec, world, {}, silent, [] { return false; });
  };
  const auto evaluation = [&](Communicator& world) {
    TrainObserver silent;
    evaluate(spec, world, {}, silent);
  };
  const auto expect_everywhere = [&](const char* what, const std::function<void(Communicator&)>& body) {
    const auto messages = raised_on_every_rank(ErrorKind::kCheckpoint, body);
    EXPECT_NE(messages[0].find(what), std::string::npos) << messages[0];
    EXPECT_EQ(messages, std::vector<std::string>(3, messages[0]));
  };
  spec.checkpoint.resume = CheckpointSpec::Resume::kStep;
  spec.checkpoint.resume_step = 1;
  expect_everywhere("checkpoint.resume: 1 is not the newest", training);
  spec.checkpoint.resume_step = 3;
  expect_everywhere("has no checkpoint of step 3", training);
  spec.checkpoint.resume = CheckpointSpec::Resume::kLatest;
  for (const CheckpointFolder& c : list_checkpoints(spec.output_directory)) flip_a_byte(c.path + "/tensors_00000.bin");
  expect_everywhere("none of the 2 checkpoints", training);
  spec.evaluation.data = spec.data;
  expect_everywhere("none of the 2 checkpoints", evaluation);
  spec.output_directory = folder / "other";
  spec.model_folder = folder / "no_model";
  expect_everywhere("no_model", training);
}

TEST(Agreement, WhatRankZeroRaisesIsRaisedEverywhere) {
  const Context context(Context::Options{});
  const auto raised = [&](ErrorKind kind, const auto& exception) {
    return raised_on_every_rank(kind, [&](Communicator& world) {
      bool ran = false;
      on_rank_zero(context, world, [&] { ran = true; });
      EXPECT_EQ(ran, world.rank() == 0);
      on_rank_zero(context, world, [&] { throw exception; });
      ADD_FAILURE() << "went on";
    });
  };
  const auto three = [](const std::string& message) { return std::vector<std::string>(3, message); };
  EXPECT_EQ(raised(ErrorKind::kData, Error(ErrorKind::kData, "12345678")), three("12345678"));
  EXPECT_EQ(raised(ErrorKind::kNumerical, Error(ErrorKind::kNumerical, "")), three(""));
  EXPECT_EQ(raised(ErrorKind::kInternal, std::logic_error("a bug")), three("a bug"));
  const auto out_of_memory = raised(ErrorKind::kResource, std::bad_alloc());
  EXPECT_EQ(out_of_memory, three("out of memory: use more ranks, a shorter sequence or smaller tiles"));
  const std::filesystem::filesystem_error full("full", std::make_error_code(std::errc::no_space_on_device));
  EXPECT_EQ(raised(ErrorKind::kResource, full), three(full.what()));
}

TEST(Resume, AnotherModelIsRefusedWithWhatDiffers) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.num_steps = 1;
  run(spec, 1, 1);
  spec.model.mlp_size = 64;
  try {
    run(spec, 1, 1);
    FAIL() << "a checkpoint of another shape was resumed";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kCheckpoint);
    const std::string path = list_checkpoints(spec.output_directory)[0].path;
    EXPECT_EQ(std::string(e.what()), "checkpoint " + path + ": its model has mlp_size 48, this one mlp_size 64: leave the "
                                     "model as it was, or name another output_directory");
  }
}

TEST(Evaluate, HeldOutLossIsThatOfTheTrainingRunOnAnyMesh) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  spec.data.holdout_every = 3;
  spec.data.part = DataPart::kTraining;
  spec.evaluation.data = spec.data;
  spec.evaluation.data->part = DataPart::kHeldOut;
  spec.evaluation.interval_steps = 20;
  const History trained = run(spec, 1, 2);
  ASSERT_EQ(trained.evaluations.size(), 1u);
  for (const auto& [data, context] : {std::pair{1, 1}, {1, 2}, {1, 3}, {2, 1}, {2, 2}}) {
    run_in_process(data * context, [&, data = data, context = context](Communicator& world) {
      RunSpec s = spec;
      s.mesh = {.pipeline = 1, .data = data, .context = context, .tensor = 1};
      TrainObserver silent;
      const EvaluationResult result = evaluate(s, world, {}, silent);
      EXPECT_NEAR(result.report.loss, trained.evaluations[0], 1e-6 * trained.evaluations[0]);
      EXPECT_EQ(result.report.step, 20);
      ASSERT_EQ(result.documents.size(), 1u);
      EXPECT_NEAR(result.report.bits_per_byte, result.documents[0].bits_per_byte(), 1e-12);
    });
  }
}

TEST(Generate, TheCacheChangesNothing) {
  const test::Folder folder;
  RunSpec spec = small_run(folder, "run");
  run(spec, 1, 1);
  spec.generation.prompt = "the quick ";
  spec.generation.max_tokens = 12;
  const auto tokens = generate(spec, {}, [](int32_t) {});
  ASSERT_EQ(tokens.size(), 12u);
  // Each token again, with everything before it as the prompt.
  for (size_t i = 0; i < tokens.size(); ++i) {
    RunSpec step = spec;
    step.generation.max_tokens = 1;
    for (size_t j = 0; j < i; ++j) step.generation.prompt += static_cast<char>(tokens[j]);
    EXPECT_EQ(generate(step, {}, [](int32_t) {})[0], tokens[i]) << "token " << i;
  }
}

}  // namespace
}  // namespace longspan
