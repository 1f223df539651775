#include "train/step_record.h"

#include <algorithm>

namespace longspan {

namespace {

using Rows = TensorRecord::Rows;

template <class T>
std::vector<double> converted(const Tensor& t) {
  const T* data = t.data<T>();
  std::vector<double> values(static_cast<size_t>(t.num_elements()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(data[i]);
  return values;
}

std::vector<double> doubles(const Context& context, const Tensor& tensor) {
  const Tensor t = context.to_host(tensor);
  switch (t.dtype()) {
    case DType::kFloat64:
      return converted<double>(t);
    case DType::kFloat32:
      return converted<float>(t);
    case DType::kInt32:
      return converted<int32_t>(t);
    case DType::kBFloat16: {
      std::vector<double> values;
      for (int64_t i = 0; i < t.num_elements(); ++i) values.push_back(static_cast<float>(t.data<bfloat16>()[i]));
      return values;
    }
    default:
      break;
  }
  raise(ErrorKind::kInternal, "a record of {} numbers", name(t.dtype()));
}

// Orders of what hops bring lie between those of two other tensors: the hop, then which tensor.
constexpr int64_t kOrders = int64_t{1} << 24;

std::vector<double> values_of(const Context& context, const Tensor& gradient, const Box& box) {
  if (gradient.defined()) return doubles(context, gradient);
  return std::vector<double>(static_cast<size_t>(box.num_elements()), 0);
}

}  // namespace

// Hands every call through and keeps what comes out.
class StepRecorder::WatchedBlock final : public StageBlock {
 public:
  WatchedBlock(StepRecorder& recorder, std::unique_ptr<StageBlock> inner, bool is_first)
      : recorder_(recorder), inner_(std::move(inner)), is_first_(is_first) {
    const int64_t num_layers = recorder.decoder_->spec().num_layers;
    const auto name = [&](int64_t block) {
      if (block == 0) return std::string("model.embed_tokens");
      return block > num_layers ? std::string("lm_head") : fmt::format("model.layers.{}", block - 1);
    };
    // Of the two that are no layers, the embedding is a stage's first block.
    const bool is_embedding = is_first && recorder.decoder_->has_embedding();
    const int64_t number = inner_->layer() >= 0 ? inner_->layer() + 1 : is_embedding ? 0 : num_layers + 1;
    name_ = name(number);
    if (number > 0) name_before_ = name(number - 1);
    find_parameters(recorder.decoder_->parameters());
  }
  int layer() const override { return inner_->layer(); }

  Tensor forward(Context& context, int microbatch, const Tensor& x, std::any* stash) override {
    if (is_first_) recorder_.add_inputs(context, microbatch);
    recorder_.pass_ = {microbatch, name_};
    Tensor y;
    if (name_ != "lm_head") {
      y = inner_->forward(context, microbatch, x, stash);
      recorder_.add_piece(context, "output of " + name_, microbatch, y);
      return y;
    }
    const ParametersBefore before(context, *this);
    y = inner_->forward(context, microbatch, x, stash);
    recorder_.add_rows(context, "losses", microbatch, recorder_.batch(microbatch).losses);
    before.add_growth(context, name_ + " with the loss", microbatch);
    return y;
  }

  Tensor backward_input(Context& context, int microbatch, const Tensor& dy, std::any& stash) override {
    microbatch_of_[&stash] = microbatch;
    recorder_.pass_ = {microbatch, name_ + " in backward"};
    Tensor dx = inner_->backward_input(context, microbatch, dy, stash);
    if (dx.defined()) recorder_.add_piece(context, "gradient of the output of " + name_before_, microbatch, dx);
    return dx;
  }

  void backward_weight(Context& context, std::any& stash) override {
    const ParametersBefore before(context, *this);
    inner_->backward_weight(context, stash);
    before.add_growth(context, name_, microbatch_of_.at(&stash));
    microbatch_of_.erase(&stash);
  }

 private:
  // The gradients of the block's parameters before something adds to them.
  class ParametersBefore {
   public:
    ParametersBefore(const Context& context, const WatchedBlock& block) : block_(block) {
      for (const Parameter* p : block.parameters_) values_.push_back(values_of(context, p->gradient, p->box));
    }
    void add_growth(const Context& context, const std::string& by, int microbatch) const {
      TensorRecord& record = block_.recorder_.add(Rows::kParameters, "parameter gradients of " + by, microbatch);
      for (size_t i = 0; i < values_.size(); ++i) {
        const Parameter& p = *block_.parameters_[i];
        std::vector<double> growth = values_of(context, p.gradient, p.box);
        for (size_t j = 0; j < growth.size(); ++j) growth[j] -= values_[i][j];
        record.parts.push_back({p.name, p.box, std::move(growth)});
      }
    }

   private:
    const WatchedBlock& block_;
    std::vector<std::vector<double>> values_;
  };

  void find_parameters(const ParameterSet& all) {
    const auto add = [&](const std::string& module) {
      const size_t before = parameters_.size();
      for (const auto& p : all.all()) {
        if (p->name.starts_with(module + ".")) parameters_.push_back(p.get());
      }
      return parameters_.size() > before;
    };
    const bool has_own = add(name_);
    if (name_ != "lm_head") return;
    if (!has_own) add("model.embed_tokens");  // tied
    add("model.norm");
  }

  StepRecorder& recorder_;
  std::unique_ptr<StageBlock> inner_;
  bool is_first_;
  std::string name_, name_before_;
  std::vector<const Parameter*> parameters_;
  std::map<const std::any*, int> microbatch_of_;
};

class StepRecorder::WatchedKernel final : public BlockAttention {
 public:
  WatchedKernel(StepRecorder& recorder, std::shared_ptr<const KernelSet> inner)
      : recorder_(recorder), inner_(std::move(inner)) {}

 private:
  const BlockAttention& inner() const { return inner_->get<BlockAttention>(); }
  void do_forward(const Context& context, const AttentionBlock& block, const AttentionState& state) const override {
    recorder_.add_hop(context, block);
    inner().forward(context, block, state);
  }
  void do_clear(const Context& context, const Tensor& lse) const override { inner().clear(context, lse); }
  void do_delta(const Context& context, const Tensor& output, const Tensor& doutput,
                const Tensor& delta) const override {
    inner().delta(context, output, doutput, delta);
  }
  void do_backward(const Context& context, const AttentionBlock& block,
                   const AttentionGradient& gradient) const override {
    recorder_.add_hop(context, block);
    inner().backward(context, block, gradient);
  }

  StepRecorder& recorder_;
  std::shared_ptr<const KernelSet> inner_;
};

// What every scheme is given and gives, whatever it moves in between.
class StepRecorder::WatchedAttention final : public SequenceAttention {
 public:
  WatchedAttention(StepRecorder& recorder, std::unique_ptr<SequenceAttention> inner)
      : recorder_(recorder), inner_(std::move(inner)) {}
  int num_ranks() const override { return inner_->num_ranks(); }

 private:
  Tensor do_forward(Context& context, const Tensor& q, const Tensor& k, const Tensor& v, const TileMap& tiles,
                    AttentionStash* stash) const override {
    recorder_.add_heads(context, "queries of ", q, Heads::kQueries);
    recorder_.add_heads(context, "keys of ", k, Heads::kKeys);
    recorder_.add_heads(context, "values of ", v, Heads::kKeys);
    Tensor output = inner_->forward(context, q, k, v, tiles, stash);
    recorder_.add_heads(context, "attention of ", output, Heads::kQueries);
    return output;
  }
  QkvGradient do_backward(Context& context, const Tensor& doutput, const TileMap& tiles, AttentionStash& stash) const override {
    // Exchanged heads are not kept by token.
    if (stash.q.defined()) {
      recorder_.add_heads(context, "queries of ", stash.q, Heads::kQueries);
      recorder_.add_heads(context, "keys of ", stash.k, Heads::kKeys);
      recorder_.add_heads(context, "values of ", stash.v, Heads::kKeys);
    }
    return inner_->backward_unrounded(context, doutput, tiles, stash);
  }

  StepRecorder& recorder_;
  std::unique_ptr<SequenceAttention> inner_;
};

void StepRecorder::on_attention(std::unique_ptr<SequenceAttention>& attention) {
  attention = std::make_unique<WatchedAttention>(*this, std::move(attention));
}

std::shared_ptr<const KernelSet> StepRecorder::watched(std::shared_ptr<const KernelSet> kernels) {
  const auto watched = std::make_shared<KernelSet>(*kernels);
  watched->add<BlockAttention>(std::make_shared<const WatchedKernel>(*this, std::move(kernels)));
  return watched;
}

void StepRecorder::on_model(Decoder& decoder) {
  decoder_ = &decoder;
  record_ = StepRecord{};
  Stage& stage = decoder.stage();
  for (size_t i = 0; i < stage.size(); ++i) {
    stage[i] = std::make_unique<WatchedBlock>(*this, std::move(stage[i]), i == 0);
  }
}

void StepRecorder::on_gradients(const Context& context, int64_t, const ParameterSet& parameters) {
  for (const ParameterSet::Part& part : parameters.parts()) {
    const std::vector<double> values = doubles(context, part.gradient);
    auto next = values.begin();
    for (const Box& box : boxes_of_range(part.parameter->box, part.begin, part.end)) {
      record_.gradients.push_back({part.parameter->name, box, {next, next + box.num_elements()}});
      next += box.num_elements();
    }
  }
}

void StepRecorder::on_step(const StepReport& report) { record_.loss = report.loss; }

TensorRecord& StepRecorder::add(Rows rows, std::string name, int microbatch) {
  record_.tensors.push_back({.name = std::move(name), .rows = rows, .microbatch = microbatch, .order = kOrders * ++order_});
  return record_.tensors.back();
}

TensorRecord& StepRecorder::add_rows(const Context& context, std::string name, int microbatch, const Tensor& tensor) {
  TensorRecord& record = add(Rows::kTokens, std::move(name), microbatch);
  record.width = tensor.rank() < 2 ? 1 : tensor.size(1);
  record.values = doubles(context, tensor);
  return record;
}

void StepRecorder::add_piece(const Context& context, std::string name, int microbatch, const Tensor& tensor) {
  add_rows(context, std::move(name), microbatch, tensor).rows = Rows::kPieces;
}

void StepRecorder::add_inputs(const Context& context, int microbatch) {
  const Microbatch& inputs = batch(microbatch);
  record_.layouts[microbatch] = inputs.layout;
  add_rows(context, "tokens", microbatch, inputs.tokens);
  add_rows(context, "targets", microbatch, inputs.targets);
  add_rows(context, "rotary cosines", microbatch, inputs.shard.rotary.cosine);
  add_rows(context, "rotary sines", microbatch, inputs.shard.rotary.sine);
  add(Rows::kNone, "scale of the gradients", microbatch).values = {inputs.gradient_scale};
}

std::vector<TensorPiece> StepRecorder::columns_of(Heads heads) const {
  const ModelSpec& spec = decoder_->spec();
  const Communicator& axis = mesh_.axis(Axis::kTensor);
  const HeadSplit split = split_heads(spec.num_heads, spec.num_kv_heads, axis.size(), axis.rank());
  if (heads == Heads::kQueries) return {{split.q.begin * spec.head_dim, split.q.end * spec.head_dim}};
  std::vector<TensorPiece> columns;
  for (const int64_t held : split.kv_of) {
    columns.push_back({(split.kv.begin + held) * spec.head_dim, (split.kv.begin + held + 1) * spec.head_dim});
  }
  return columns;
}

void StepRecorder::add_heads(const Context& context, const char* what, const Tensor& tensor, Heads heads) {
  const Tensor rows = tensor.reshape({tensor.size(0), tensor.size(1) * tensor.size(2)});
  add_rows(context, what + pass_.of, pass_.microbatch, rows).columns = columns_of(heads);
}

// Keys that a scheme puts together from several ranks' have no one owner; what comes of them is compared.
void StepRecorder::add_hop(const Context& context, const AttentionBlock& block) {
  const TileMap& tiles = batch(pass_.microbatch).shard.tiles;
  // Of sequences in chunks, these are in the place of ranks.
  const int place =
      batch(pass_.microbatch).shard.prefixes ? pass_.microbatch % tiles.num_ranks() : mesh_.coordinate(Axis::kContext);
  int owner = 0;
  while (owner < tiles.num_ranks() && &tiles.keys_of(owner) != block.visible) ++owner;
  if (owner == tiles.num_ranks() || owner == place) return;
  const int hop = (place - owner + tiles.num_ranks()) % tiles.num_ranks();
  const auto add_one = [&](const char* what, const Tensor& tensor) {
    add_heads(context, what, tensor, Heads::kKeys);
    record_.tensors.back().hop = hop;
  };
  add_one("keys of ", block.k);
  add_one("values of ", block.v);
}

}  // namespace longspan
