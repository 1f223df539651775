// VocabularySlice: which entries of a vocabulary a table or the columns of logits hold, where ranks share them.
#pragma once

#include <cstdint>

namespace longspan {

struct VocabularySlice {
  int64_t first = 0;  // of the entries held, whose number is the tensor's
  int64_t size = 0;   // of the whole vocabulary
};

}  // namespace longspan
