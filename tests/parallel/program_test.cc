// Programs: what the generator makes is sound, and the verifier names what is not.
#include "parallel/pipeline/program.h"

#include <gtest/gtest.h>

#include "core/base/error.h"

namespace longspan {
namespace {

using Kind = Action::Kind;

TEST(Program, SingleStageIsSoundAndKeepsOneMicrobatch) {
  for (int microbatches = 1; microbatches <= 4; ++microbatches) {
    for (int blocks = 1; blocks <= 5; ++blocks) {
      const Program program = single_stage_program(microbatches, blocks);
      EXPECT_EQ(program.size(), static_cast<size_t>(3 * microbatches * blocks + 1));
      EXPECT_EQ(verify(program, microbatches, blocks).peak_stashes, blocks);
    }
  }
}

void expect_rejected(const Program& program, const std::string& reason) {
  try {
    verify(program, 2, 2);
    FAIL() << "accepted; expected: " << reason;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(reason), std::string::npos) << e.what();
  }
}

TEST(Program, PlantedFaultsAreNamed) {
  const Program good = single_stage_program(2, 2);
  Program program = good;
  std::swap(program[0], program[1]);
  expect_rejected(program, "F(microbatch 0, block 1) comes before its input from block 0");
  program = good;
  std::swap(program[2], program[3]);  // W before B
  expect_rejected(program, "W(microbatch 0, block 1) is out of order");
  program = good;
  std::swap(program[2], program[4]);  // B of block 0 before B of block 1
  expect_rejected(program, "B(microbatch 0, block 0) comes before its input from block 1");
  program = good;
  program.insert(program.begin() + 1, program[0]);
  expect_rejected(program, "F(microbatch 0, block 0) is out of order or doubled");
  program = good;
  program.erase(program.end() - 2);
  expect_rejected(program, "the reduction comes before the last W");
  program = good;
  program.pop_back();
  expect_rejected(program, "the program has no reduction");
  program = good;
  program.push_back({Kind::kForward, 0, 0});
  expect_rejected(program, "F(microbatch 0, block 0) comes after the reduction");
  program = good;
  program[0].block = 7;
  expect_rejected(program, "F(microbatch 0, block 7) is outside");
}

}  // namespace
}  // namespace longspan
