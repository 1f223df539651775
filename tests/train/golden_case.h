// tests/golden against this program: what an independent fp32 implementation computed for tiny models of each family (logits
// are compared through the losses), through the same train() that users run, on any mesh, layout and device.
#pragma once

#include <functional>
#include <string>

#include "attention/sequence_layout.h"
#include "train/run_spec.h"
#include "train/train.h"

namespace longspan::test {

std::string golden(const std::string& model);  // its folder

enum class Form { kBatchOfTwo, kTwoDocuments, kTwoMicrobatches };
struct GoldenMesh {
  int data, context;
  LayoutType layout;
  Form form;
  int tensor = 1;
  RunSpec::Sharding sharding = RunSpec::Sharding::kNone;
};

// What a run computes in and on what, and how near it has to come.
struct GoldenArithmetic {
  DType dtype = DType::kFloat32;
  double first_loss = 1e-6, losses = 1e-5, first_norm = 1e-5, norms = 1e-5, gradients = 1e-5;
  std::function<RankResources()> resources = [] { return RankResources{}; };  // of each rank
};
GoldenArithmetic in_bfloat16();

// Eight steps, on ranks that are threads. Fails the test where a number is another.
void expect_golden(const std::string& model, const GoldenMesh& mesh, const GoldenArithmetic& arithmetic = {});

}  // namespace longspan::test
