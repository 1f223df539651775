// DecoderParameters: which parts of a decoder's parameters a rank of the tensor axis holds, under their Hugging Face names:
//   by rows      the table and the head (entries of the vocabulary), q, k and v (heads), gate and up
//   by columns   o (heads), down
//   all of it    norms, whose gradients the axis sums
// Key heads whose query heads lie on several ranks are held by each of them (parallel/tensor/head_split.h), and summed, too.
#pragma once

#include "model/decoder_block.h"

namespace longspan {

class DecoderParameters {
 public:
  // Adds to `parameters`. Raises Error(kConfiguration) where the axis has more ranks than there is to share.
  DecoderParameters(const ModelSpec& spec, const Communicator& tensor, ParameterSet& parameters);

  Parameter& vocabulary_rows(const std::string& name);
  Parameter& norm(const std::string& name, int64_t size);
  DecoderBlockParameters block(int64_t layer);

 private:
  Parameter& heads_of(const std::string& name, const Shape& whole, const TensorPiece& heads);
  Parameter& key_heads(const std::string& name, const Shape& whole);
  void add_attention(const std::string& prefix, AttentionParameters& p);

  const ModelSpec& spec_;
  ParameterSet& parameters_;
  int num_ranks_, rank_;
  HeadSplit heads_;
};

}  // namespace longspan
