#include "train/plan/held_parameters.h"

#include <algorithm>

#include "parallel/tensor/head_split.h"

namespace longspan {

namespace {

bool has_embedding(const std::vector<int>& blocks) { return std::find(blocks.begin(), blocks.end(), 0) != blocks.end(); }
bool has_head(const ModelSpec& model, const std::vector<int>& blocks) {
  return std::find(blocks.begin(), blocks.end(), static_cast<int>(model.num_layers) + 1) != blocks.end();
}

}  // namespace

int64_t layers_in(const ModelSpec& model, const std::vector<int>& blocks) {
  return std::count_if(blocks.begin(), blocks.end(), [&](int b) { return b > 0 && b <= model.num_layers; });
}

int64_t parameters_held(const ModelSpec& model, const std::vector<int>& blocks, int tensor_degree, int tensor_rank) {
  const auto piece = [&](int64_t count) { return tensor_piece_of(count, tensor_degree, tensor_rank).size(); };
  const HeadSplit heads = split_heads(model.num_heads, model.num_kv_heads, tensor_degree, tensor_rank);
  const int64_t hidden = model.hidden_size, q = heads.q.size() * model.head_dim, kv = heads.kv.size() * model.head_dim;
  int64_t layer = 2 * hidden * (q + kv) + 3 * hidden * piece(model.mlp_size) + 2 * hidden;
  if (model.bias == ModelSpec::Bias::kQkv) layer += q + 2 * kv;
  if (model.qk_norm == ModelSpec::QkNorm::kYes) layer += 2 * model.head_dim;
  const int64_t table = piece(model.vocabulary_size) * hidden;
  const bool embedding = has_embedding(blocks), head = has_head(model, blocks);
  const bool one_table = embedding && head && model.tie_embeddings == ModelSpec::Tie::kYes;
  return layers_in(model, blocks) * layer + (embedding ? table : 0) + (head ? hidden + (one_table ? 0 : table) : 0);
}

int64_t parameters_held_alike(const ModelSpec& model, const std::vector<int>& blocks, int tensor_degree) {
  if (tensor_degree == 1) return 0;
  int64_t kv = 0;
  for (const TensorPiece& heads : shared_kv_heads(model.num_heads, model.num_kv_heads, tensor_degree)) {
    kv += heads.size() * model.head_dim;
  }
  int64_t layer = 2 * model.hidden_size + 2 * kv * model.hidden_size;
  if (model.bias == ModelSpec::Bias::kQkv) layer += 2 * kv;
  if (model.qk_norm == ModelSpec::QkNorm::kYes) layer += 2 * model.head_dim;
  return layers_in(model, blocks) * layer + (has_head(model, blocks) ? model.hidden_size : 0);
}

bool holds_half_of_tied_table(const ModelSpec& model, const std::vector<int>& blocks) {
  return model.tie_embeddings == ModelSpec::Tie::kYes && has_embedding(blocks) != has_head(model, blocks);
}

std::vector<std::vector<int>> held_buckets(const RunSpec& spec, const std::vector<int>& blocks) {
  const ModelSpec& model = spec.model;
  const bool half = holds_half_of_tied_table(model, blocks);
  const int64_t full = spec.bucket_elements * spec.mesh.tensor;  // counted are whole parameters
  std::vector<std::vector<int>> buckets;
  int64_t elements = 0;
  for (const int block : blocks) {
    if (buckets.empty() || buckets.back().back() + 1 != block || elements >= full) {
      buckets.emplace_back();
      elements = 0;
    }
    buckets.back().push_back(block);
    // Where one table is both, it lies with the embedding.
    const bool table_is_elsewhere = block > model.num_layers && model.tie_embeddings == ModelSpec::Tie::kYes && !half;
    elements += table_is_elsewhere ? model.hidden_size : parameters_held(model, {block}, 1, 0);
  }
  return buckets;
}

}  // namespace longspan
