#include <gtest/gtest.h>
#include "tests/attention/attention_cases.h"
#include "tests/support/emulated_attention.h"
#include "tests/support/reference_context.h"
#include "tests/support/tensors.h"
namespace longspan {
namespace {
TEST(Quick, Some) {
  const Context reference = test::make_context(DType::kFloat64);
  for (auto p : {test::Problem{1,1,1,1,64}, {32,32,1,1,64}, {64,64,1,1,64},{128,128,1,1,128},{300,300,2,1,128},{300,300,2,1,64},{513,700,4,2,64},{90,90,1,1,160},{333,1000,1,1,64,test::Problem::Kind::kScattered},
     {333,1000,2,2,128,test::Problem::Kind::kDocuments},{1100,1100,3,1,128,test::Problem::Kind::kWindow},{2300,2300,3,1,128,test::Problem::Kind::kCausal,8},{600,600,1,1,300}}) {
    const Context c = test::emulated_tile_context(DType::kBFloat16);
    auto t = test::make_inputs(c, p, DType::kBFloat16, 3);
    auto v = test::visible(p, 3);
    auto got = test::attend(c, t, v, {0, p.num_keys});
    auto want = test::attend(reference, test::as_double(reference, t), v, {0, p.num_keys});
    printf("%s: O %.2e lse %.2e dq %.2e dk %.2e dv %.2e\n", test::describe(p).c_str(), test::relative_error(got.output, want.output), test::largest_lse_error(got.lse, want.lse),
      test::relative_error(got.dq, want.dq), test::relative_error(got.dk, want.dk), test::relative_error(got.dv, want.dv));
  }
}
}
}
