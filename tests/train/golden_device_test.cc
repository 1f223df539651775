// The golden models (golden_case.h) with every tensor in the memory of the device of this program, on one rank and on two.
#include <gtest/gtest.h>

#include "tests/train/device_resources.h"
#include "tests/train/golden_case.h"

namespace longspan::test {
namespace {

GoldenArithmetic on_device(GoldenArithmetic arithmetic) {
  arithmetic.resources = [dtype = arithmetic.dtype] { return device_resources(dtype); };
  return arithmetic;
}

class GoldenOnDevice : public testing::TestWithParam<const char*> {};

TEST_P(GoldenOnDevice, InFloat32) {
  expect_golden(GetParam(), {1, 1, LayoutType::kContiguous, Form::kBatchOfTwo}, on_device({}));
  expect_golden(GetParam(), {1, 2, LayoutType::kZigzag, Form::kTwoDocuments}, on_device({}));
}

TEST_P(GoldenOnDevice, InBFloat16) {
  expect_golden(GetParam(), {1, 1, LayoutType::kContiguous, Form::kTwoDocuments}, on_device(in_bfloat16()));
  expect_golden(GetParam(), {1, 2, LayoutType::kZigzag, Form::kTwoDocuments}, on_device(in_bfloat16()));
}

std::vector<const char*> models() {
  if (device_is_emulated()) return {"qwen3"};
  return {"llama", "llama_llama3rope", "llama_linear_tied", "llama_yarn", "mistral", "qwen2", "qwen3"};
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenOnDevice, testing::ValuesIn(models()),
                         [](const auto& i) { return std::string(i.param); });

}  // namespace
}  // namespace longspan::test
