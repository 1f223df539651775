#include "train/step_program.h"

#include "parallel/pipeline/executor.h"
#include "train/model_state.h"

namespace longspan {

StepProgram::StepProgram(const ProcessMesh& mesh, Decoder& decoder, int num_microbatches) : mesh_(mesh), decoder_(decoder) {
  const int num_blocks = static_cast<int>(decoder.stage().size());
  program_ = single_stage_program(num_microbatches, num_blocks);
  verify(program_, num_microbatches, num_blocks);
}

void StepProgram::run(Context& context) {
  {
    const TraceRange range(context.tracer(), TimeCategory::kCompute, "zero gradients");
    decoder_.parameters().zero_gradients(context);
  }
  execute(context, program_, decoder_.stage(), [&] { sum_gradients(context, mesh_, decoder_.parameters()); });
}

}  // namespace longspan
