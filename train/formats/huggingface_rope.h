// The rotary embedding of a Hugging Face config.json, in either dialect.
#pragma once

#include "model/model_spec.h"
#include "train/formats/json_object.h"

namespace longspan {

// transformers 4: rope_theta and rope_scaling {rope_type or type, ...} at the root. transformers 5:
// rope_parameters {rope_theta, rope_type, ...}, or one such object for each type of layer, which must then be
// equal. Where a file has both, they must agree. Formulas:
// transformers/src/transformers/modeling_rope_utils.py.
RopeSpec read_huggingface_rope(const JsonObject& config);

}  // namespace longspan
