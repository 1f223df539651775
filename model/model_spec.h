// ModelSpec: the shape of a decoder of the Llama family (Llama, Mistral, Qwen2, Qwen3), as plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace longspan {

enum class RopeScalingType { kNone, kLinear, kNtk, kYarn, kLlama3 };

// Frequencies of the rotary embedding and how they are stretched for longer contexts; model/rope.h has the formulas.
struct RopeSpec {
  double theta = 10000;
  RopeScalingType scaling = RopeScalingType::kNone;
  double factor = 1;
  int64_t original_max_positions = 4096;
  // YARN
  double beta_fast = 32, beta_slow = 1;
  double attention_factor = 0;  // multiplies cos and sin; 0: 0.1 ln(factor) + 1
  // LLAMA3
  double low_frequency_factor = 1, high_frequency_factor = 4;
};

struct ModelSpec {
  int64_t vocabulary_size = 256, hidden_size = 256, num_layers = 4, num_heads = 4, num_kv_heads = 4, head_dim = 64,
          mlp_size = 688;
  double norm_epsilon = 1e-5;
  double initializer_range = 0.02;
  enum class Tie { kNo, kYes } tie_embeddings = Tie::kNo;
  enum class Bias { kNone, kQkv } bias = Bias::kNone;
  enum class QkNorm { kNo, kYes } qk_norm = QkNorm::kNo;
  RopeSpec rope;
};

struct FieldProblem {
  std::string field;  // as the configuration spells it; of a model, below `model`
  std::string what;   // "is 3, which does not divide model.num_heads 4"
};
std::vector<FieldProblem> problems_of(const ModelSpec& spec);
// Raises Error(kConfiguration) with the first of them.
void validate(const ModelSpec& spec);

// The most ranks of a tensor axis that can share this model; any fewer can.
int64_t max_tensor_degree(const ModelSpec& spec);
// What is wrong with a tensor axis of so many ranks, and the nearest that works; empty where it can share this model.
std::string problem_of_tensor_degree(const ModelSpec& spec, int64_t degree);

// Operations of training on so many tokens, whose queries see `pairs` keys together, by the usual convention: forward 2 for each
// token and parameter of a product, and 4 x head_dim for each pair and head; backward twice that; nothing that is computed again.
double training_flop(const ModelSpec& spec, double tokens, double pairs);

// The same by block: the embedding, which multiplies nothing, the layers, the head. Attention has no weights, so no gradients by
// them; the head computes its gradients with the loss, in forward.
struct BlockFlop {
  double forward = 0, backward_input = 0, backward_weight = 0;
  double total() const { return forward + backward_input + backward_weight; }
};
std::vector<BlockFlop> block_flop(const ModelSpec& spec, double tokens, double pairs);
inline int num_blocks(const ModelSpec& spec) { return static_cast<int>(spec.num_layers) + 2; }

// Every field, so that two models that differ in anything differ in this text: "vocabulary_size 256 hidden_size ...".
std::string to_string(const ModelSpec& spec);

}  // namespace longspan
