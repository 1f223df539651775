// SequenceOrder: the order in which the sequences of an endless stream of documents are trained on.
//
// In the order of the stream, a long document would fill many steps on end, and training would follow it away from all the
// others. So the sequences are taken in groups of about an epoch, and shuffled within each: number n of group g is number
// p_g(n) of it, p_g a permutation. It is a Feistel network over the least power of four that holds the group, walked until it
// falls inside (Black and Rogaway 2002), keyed by (seed, name, group): a pure function that needs no table.
#pragma once

#include <cstdint>
#include <string>

namespace longspan {

class SequenceOrder {
 public:
  // group_size >= 1
  SequenceOrder(int64_t group_size, uint64_t seed, const std::string& name);
  // Which sequence of the stream comes as number `number`, both >= 0. One to one, and one to one within each group.
  int64_t operator()(int64_t number) const;

 private:
  int64_t group_size_;
  int half_bits_;
  uint64_t seed_;
  std::string name_;
};

}  // namespace longspan
