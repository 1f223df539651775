// What a rank of a pipeline and of a tensor axis holds of a model's parameters, and how they travel together: for whoever
// counts bytes without making a model. Blocks are the model's by number, 0: the embedding, then the layers, then the head. Pure
// functions.
#pragma once

#include <cstdint>
#include <vector>

#include "train/run_spec.h"

namespace longspan {

int64_t layers_in(const ModelSpec& model, const std::vector<int>& blocks);

// Elements that a rank of the tensor axis holds of these blocks.
int64_t parameters_held(const ModelSpec& model, const std::vector<int>& blocks, int tensor_degree, int tensor_rank);

// Of these, elements whose gradients are sums over the tensor axis (Parameter::shared): norms, and key heads that several ranks
// hold.
int64_t parameters_held_alike(const ModelSpec& model, const std::vector<int>& blocks, int tensor_degree);

// Whether these blocks have the embedding or the head alone, of a model where both have one table (Decoder::half_of_tied_table).
bool holds_half_of_tied_table(const ModelSpec& model, const std::vector<int>& blocks);

// The blocks of each bucket of these blocks, as lay_out in core/nn/flat_layout.h makes them.
std::vector<std::vector<int>> held_buckets(const RunSpec& spec, const std::vector<int>& blocks);

}  // namespace longspan
