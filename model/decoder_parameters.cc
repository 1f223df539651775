#include "model/decoder_parameters.h"

namespace longspan {

namespace {

Box rows_of_whole(const Shape& whole, const TensorPiece& rows) { return Box::slice_of(whole, 0, rows.begin, rows.end); }

Parameter& multiplied(Parameter& parameter) {
  parameter.multiplies = true;
  return parameter;
}

Initialization initialization_of(const Shape& whole) {
  return whole.rank() == 1 ? Initialization::kZeros : Initialization::kNormal;  // a bias, or a matrix
}

}  // namespace

DecoderParameters::DecoderParameters(const ModelSpec& spec, const Communicator& tensor, ParameterSet& parameters)
    : spec_(spec), parameters_(parameters), num_ranks_(tensor.size()), rank_(tensor.rank()) {
  if (const std::string problem = problem_of_tensor_degree(spec, num_ranks_); !problem.empty()) {
    raise(ErrorKind::kConfiguration, "mesh.tensor {}", problem);
  }
  heads_ = split_heads(spec.num_heads, spec.num_kv_heads, num_ranks_, rank_);
}

Parameter& DecoderParameters::vocabulary_rows(const std::string& name) {
  const Shape whole = {spec_.vocabulary_size, spec_.hidden_size};
  return parameters_.add(name, rows_of_whole(whole, tensor_piece_of(whole[0], num_ranks_, rank_)), Initialization::kNormal);
}

Parameter& DecoderParameters::norm(const std::string& name, int64_t size) {
  Parameter& added = parameters_.add(name, {size}, Initialization::kOnes);
  if (num_ranks_ == 1) return added;
  added.shared = {added.box};
  if (rank_ > 0) added.counted = rows_of_whole(added.shape, {0, 0});
  return added;
}

Parameter& DecoderParameters::heads_of(const std::string& name, const Shape& whole, const TensorPiece& heads) {
  const TensorPiece rows = {heads.begin * spec_.head_dim, heads.end * spec_.head_dim};
  return parameters_.add(name, rows_of_whole(whole, rows), initialization_of(whole));
}

Parameter& DecoderParameters::key_heads(const std::string& name, const Shape& whole) {
  Parameter& added = heads_of(name, whole, heads_.kv);
  for (const TensorPiece& heads : shared_kv_heads(spec_.num_heads, spec_.num_kv_heads, num_ranks_)) {
    added.shared.push_back(rows_of_whole(whole, {heads.begin * spec_.head_dim, heads.end * spec_.head_dim}));
  }
  const TensorPiece& counted = heads_.counted_kv;
  added.counted = rows_of_whole(whole, {counted.begin * spec_.head_dim, counted.end * spec_.head_dim});
  return added;
}

void DecoderParameters::add_attention(const std::string& prefix, AttentionParameters& p) {
  const int64_t hidden = spec_.hidden_size, q = spec_.num_heads * spec_.head_dim, kv = spec_.num_kv_heads * spec_.head_dim;
  const TensorPiece& held = heads_.q;
  p.q = &multiplied(heads_of(prefix + "q_proj.weight", {q, hidden}, held));
  p.k = &multiplied(key_heads(prefix + "k_proj.weight", {kv, hidden}));
  p.v = &multiplied(key_heads(prefix + "v_proj.weight", {kv, hidden}));
  const Box columns = Box::slice_of({hidden, q}, 1, held.begin * spec_.head_dim, held.end * spec_.head_dim);
  p.o = &multiplied(parameters_.add(prefix + "o_proj.weight", columns, Initialization::kNormal));
  if (spec_.bias == ModelSpec::Bias::kQkv) {
    p.q_bias = &heads_of(prefix + "q_proj.bias", {q}, held);
    p.k_bias = &key_heads(prefix + "k_proj.bias", {kv});
    p.v_bias = &key_heads(prefix + "v_proj.bias", {kv});
  }
  if (spec_.qk_norm == ModelSpec::QkNorm::kYes) {
    p.q_norm = &norm(prefix + "q_norm.weight", spec_.head_dim);
    p.k_norm = &norm(prefix + "k_norm.weight", spec_.head_dim);
  }
}

DecoderBlockParameters DecoderParameters::block(int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const Shape inner = {spec_.mlp_size, spec_.hidden_size}, down = {spec_.hidden_size, spec_.mlp_size};
  const TensorPiece held = tensor_piece_of(spec_.mlp_size, num_ranks_, rank_);
  const auto matrix = [&](const char* name, const Box& box) {
    return &multiplied(parameters_.add(prefix + name, box, Initialization::kNormal));
  };
  DecoderBlockParameters p;
  p.attention_norm = &norm(prefix + "input_layernorm.weight", spec_.hidden_size);
  add_attention(prefix + "self_attn.", p.attention);
  p.mlp_norm = &norm(prefix + "post_attention_layernorm.weight", spec_.hidden_size);
  p.gate = matrix("mlp.gate_proj.weight", rows_of_whole(inner, held));
  p.up = matrix("mlp.up_proj.weight", rows_of_whole(inner, held));
  p.down = matrix("mlp.down_proj.weight", Box::slice_of(down, 1, held.begin, held.end));
  return p;
}

}  // namespace longspan
