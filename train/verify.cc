#include "train/verify.h"

#include "parallel/comm/backends.h"
#include "train/rank_context.h"
#include "train/step_comparison.h"

namespace longspan {

namespace {

// A step whose loss is not finite ends with an error after all is recorded; the records say where that began.
StepRecord first_step(const RunSpec& run, Communicator& world, RankResources resources) {
  const ProcessMesh mesh(world, run.mesh);
  StepRecorder recorder(mesh);
  if (!resources.kernels) resources.kernels = kernels_for(run.compute_dtype, resources.cpu_level, resources.device);
  resources.kernels = recorder.watched(resources.kernels);
  try {
    train(run, world, resources, recorder, [] { return false; });
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kNumerical || !recorder.complete()) throw;
  }
  return recorder.record();
}

}  // namespace

std::vector<DType> verify_precisions(DType compute_dtype) {
  if (compute_dtype == DType::kFloat64) return {DType::kFloat64};
  if (compute_dtype == DType::kFloat32) return {DType::kFloat64, DType::kFloat32};
  return {DType::kFloat64, DType::kFloat32, compute_dtype};
}

// Sums in another order differ by some roundings, which the layers behind carry on. Measured on every configuration,
// model family and layout of this repository, over up to 64 ranks: at most 2e-14 in double precision, 70 roundings (of
// 2^-24) in float32. Allowed is seven times that; and five hundred times in double precision, where errors have no
// excuse: the planted ones of the tests are off by more than a hundredth.
//
// In bfloat16, a rank stores the same numbers rounded to the other side, and three layers forward and back carry that
// on: at most 0.017 or 9 roundings (of 2^-9) in 41 runs (configurations, layouts, meshes of 2 to 16 ranks, seeds), in
// gradients of the lower layers. Allowed is a little less than twice that, and an error below it cannot be told from
// rounding: planted, an output of attention that every hop rounds is off by 0.017, with its log-sum-exp by 0.025; sums
// of dK and dV that every hop makes 2 % too small, by 0.03 to 0.06. The same kernels are therefore run in float32
// first, where each of these is off by 0.008 and more, 250 times the tolerance. What is left to bfloat16 is the code
// that only it has, conversions and mixed products.
//
// Levels, and GPUs, that multiply bfloat16 by bfloat16 also round the weights of attention and their gradients, which hops cut at
// other places: at most 0.029 in 30 runs of the configurations, and 0.064 (33 roundings) in the gradient of a norm of queries,
// whose eight numbers are sums that nearly cancel.
double verify_tolerance(DType compute_dtype, const Processor& processor) {
  switch (compute_dtype) {
    case DType::kFloat64:
      return 1e-11;
    case DType::kFloat32:
      return 512 * 0x1p-24;
    default:
      return (processor.level >= CpuLevel::kAvx512Bf16 || !processor.on_cpu() ? 64 : 16) * 0x1p-9;
  }
}

OneRank::OneRank(const RunSpec& run, DType compute_dtype, const RankResources& resources) : run_(run) {
  run_.compute_dtype = compute_dtype;
  RunSpec alone = run_;
  alone.mesh = {};
  const auto self = make_self_communicator();
  expected_ = first_step(alone, *self, resources);
}

VerifyReport OneRank::compare(Communicator& world, const RankResources& resources) const {
  const StepRecord got = first_step(run_, world, resources);
  return StepComparison(run_, verify_tolerance(run_.compute_dtype, resources.processor()), expected_, got, world).report();
}

}  // namespace longspan
