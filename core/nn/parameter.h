// Parameter: a tensor that is learned. ParameterSet: those of a model that this rank holds, in one flat buffer each for values,
// master weights and gradients, so that a reduction or a norm is one call.
//
// A rank may hold a part of a parameter, a box of the whole. Elements are drawn and stored by their place in the whole, so that
// no mesh changes what a model begins with, and a checkpoint fits every mesh.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/nn/flat_layout.h"
#include "core/runtime/context.h"
#include "core/tensor/box.h"

namespace longspan {

enum class Initialization { kNormal, kOnes, kZeros };

struct Parameter {
  std::string name;  // as Hugging Face checkpoints spell it
  Box box;      // what this rank holds
  Shape shape;  // of that
  Initialization initialization = Initialization::kNormal;
  // Boxes of the whole, in rows, whose gradient is the sum of those of several ranks of a tensor axis; the same on every rank.
  std::vector<Box> shared;
  Box counted;  // of `box`, what this rank counts where every element of the whole counts once; all of it, unless said
  bool multiplies = false;  // set for a matrix that many products read, before materialize
  // Blocks of the model's chain that read it, by number. Backward comes to the first of them last.
  int first_block = 0, last_block = 0;
  int64_t place = 0;  // of its first element in the flat buffers

  Tensor value;     // compute dtype: what products read; absent where ranks share the weights and the bucket is not open
  Tensor master;    // accumulator dtype: what the optimizer updates; the same storage where the dtypes agree; absent where ranks
                    // share the masters among themselves
  Tensor gradient;  // accumulator dtype; backward accumulates into it; absent when nothing is learned, and where ranks share the
                    // gradients and the bucket is not open
  // Of one that multiplies: `value`, and its transpose, as GemmOptions::packed_b; absent where the backend does without.
  // Only a backward reads the first.
  Tensor packed, packed_transposed;
};

class ParameterSet {
 public:
  enum class Purpose { kInference, kTraining };

  // Elements [begin, end) of a parameter's storage, which this rank keeps; flat.
  struct Part {
    Parameter* parameter = nullptr;
    int64_t begin = 0, end = 0;
    Tensor value, master, gradient;
  };

  // Before materialize. The reference stays valid. Names are unique.
  Parameter& add(std::string name, const Box& box, Initialization initialization);
  Parameter& add(std::string name, const Shape& shape, Initialization initialization) {
    return add(std::move(name), Box::all_of(shape), initialization);
  }
  // What is added from now on is of this block, and not of one before the last.
  void begin_block(int block) { block_ = block; }
  // Where all will lie; also before materialize.
  FlatLayout layout(const StateShare& share) const { return lay_out(parameters_, share); }
  // Gives every parameter its storage. Gradients are zeroed, values are not set. Where state is shared, masters exist for this
  // rank's parts alone, unless values are the masters.
  void materialize(const Context& context, Purpose purpose, const StateShare& share = {});
  // Draws this rank's parts from (seed, name, element of the whole): the same for any sharding. Normal ones have this standard
  // deviation. Values follow, where state is not shared.
  void initialize(const Context& context, uint64_t seed, double standard_deviation);
  // value = master, rounded, of this rank's parts. After master weights were loaded. Where state is shared, the parts of the
  // other ranks follow (parallel/data/shared_state.h).
  void convert_masters(const Context& context);
  // Packs the values again. After values were written, as the optimizer does.
  void pack_values(const Context& context);
  // Both, where this rank keeps all.
  void refresh_values(const Context& context);
  void zero_gradients(const Context& context);

  const std::vector<std::unique_ptr<Parameter>>& all() const { return parameters_; }
  int64_t num_elements() const;           // that this rank holds
  // Flat; gaps between parameters are zero. Of all of them; without use where ranks share them.
  const Tensor& gradients() const { return gradients_; }
  const Tensor& values() const { return values_; }
  const std::vector<Bucket>& buckets() const { return layout_.buckets; }
  // Those with parameters that the block reads, by number; a tied table is read by two blocks.
  std::set<size_t> buckets_read_by(int block) const;
  // This rank's of them, all where state is not shared: ranges of the flat buffers, as few as they are.
  const StateShare& share() const { return share_; }
  std::vector<FlatRange> own_ranges() const;
  Tensor own_gradients(const FlatRange& own) const { return own_of(gradients_, own); }  // of one of these, or some of it

  // Where gradients are shared, a bucket has them, as zeros, from the first open_gradients to take_gradients, which gives what
  // was added since, flat. Nothing happens elsewhere: all gradients are there, and take_gradients gives the bucket's.
  void open_gradients(const Context& context, const Bucket& bucket);
  Tensor take_gradients(const Bucket& bucket);
  // The same of values, where weights are shared. open_values gives them flat, with this rank's piece alone, for the caller to
  // fill before anybody reads the parameters.
  Tensor open_values(const Context& context, const Bucket& bucket);
  void close_values(const Bucket& bucket);
  const std::vector<Part>& parts() const { return parts_; }  // in the order of all()

 private:
  void make_parts();
  Tensor own_of(const Tensor& buffer, const FlatRange& own) const;
  void set_tensors(const Bucket& bucket, Tensor Parameter::*which, const Tensor& flat);

  std::vector<std::unique_ptr<Parameter>> parameters_;
  int block_ = 0;
  StateShare share_;
  FlatLayout layout_;
  Tensor values_, masters_, gradients_;  // flat: of all, or of the own ranges one after the other
  std::vector<Tensor> open_gradients_;   // by bucket
  std::vector<Part> parts_;
};

}  // namespace longspan
