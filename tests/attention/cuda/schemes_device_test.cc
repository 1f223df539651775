// Every scheme on an emulated device, whose memory the host cannot touch: packing and sums happen there, too.
#include <gtest/gtest.h>

#include "tests/attention/sequence_case.h"
#include "tests/support/emulated_device.h"

namespace longspan {
namespace {

TEST(SchemesOnADevice, EqualOneRankInDoublePrecision) {
  for (const LayoutType layout : {LayoutType::kZigzag, LayoutType::kStriped}) {
    const test::SequenceCase c = {layout, Masking::kCausal, 45, 1, 3, 6, 2, 32};
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      const test::SequenceResult want = test::attend(c, 1, 1, {.arithmetic = {.drawn = dtype}});
      for (const auto scheme : {ContextScheme::kRing, ContextScheme::kAllToAll, ContextScheme::kAllGather,
                                ContextScheme::kHybrid, ContextScheme::kDoubleRing}) {
        SCOPED_TRACE(fmt::format("{} {} {}", name(scheme), name(layout), name(dtype)));
        const test::SchemeRun run = {.options = {.scheme = scheme, .inner = 2, .scale = 0.3},
                                     .arithmetic = {.dtype = dtype, .drawn = dtype},
                                     .decorate = [](Communicator& threads) { return make_staging_communicator(threads); },
                                     .make_context = [dtype] { return test::emulated_device_context(dtype); }};
        EXPECT_LT(test::relative_error(test::attend(c, 4, 1, run), want), dtype == DType::kFloat32 ? 3e-6 : 5e-3);
      }
    }
  }
}

}  // namespace
}  // namespace longspan
