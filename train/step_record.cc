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

std::string block_name(size_t block, size_t num_blocks) {
  if (block == 0) return "model.embed_tokens";
  if (block + 1 == num_blocks) return "lm_head";
  return fmt::format("model.layers.{}", block - 1);
}

// Orders of what hops bring lie between those of two other tensors: the hop, then which tensor.
constexpr int64_t kOrders = int64_t{1} << 24;

int64_t flat_begin(const ParameterSet& parameters, const Parameter& p) {
  const auto* first = static_cast<const std::byte*>(parameters.gradients().raw());
  const auto* own = static_cast<const std::byte*>(p.gradient.raw());
  return (own - first) / static_cast<int64_t>(size_bytes(p.gradient.dtype()));
}

}  // namespace

std::vector<double> flat_share(const TensorRecord& share, size_t num_gradients) {
  std::vector<double> flat(num_gradients, 0);
  std::copy(share.values.begin(), share.values.end(), flat.begin() + share.begin);
  return flat;
}

// Hands every call through and keeps what comes out.
class StepRecorder::WatchedBlock final : public StageBlock {
 public:
  WatchedBlock(StepRecorder& recorder, std::unique_ptr<StageBlock> inner, size_t block, size_t num_blocks)
      : recorder_(recorder),
        inner_(std::move(inner)),
        name_(block_name(block, num_blocks)),
        name_before_(block > 0 ? block_name(block - 1, num_blocks) : "") {}

  Tensor forward(Context& context, int microbatch, const Tensor& x, std::any* stash) override {
    if (name_before_.empty()) recorder_.add_inputs(context, microbatch);
    recorder_.pass_ = {microbatch, name_};
    Tensor y = inner_->forward(context, microbatch, x, stash);
    if (y.defined()) {
      recorder_.add(context, "output of " + name_, Rows::kTokens, microbatch, y);
      return y;
    }
    const Microbatch& batch = recorder_.decoder_->microbatches().at(static_cast<size_t>(microbatch));
    recorder_.add(context, "losses", Rows::kTokens, microbatch, batch.losses);
    recorder_.add_share(context, name_ + " with the loss", microbatch);
    return y;
  }

  Tensor backward_input(Context& context, int microbatch, const Tensor& dy, std::any& stash) override {
    microbatch_of_[&stash] = microbatch;
    recorder_.pass_ = {microbatch, name_ + " in backward"};
    Tensor dx = inner_->backward_input(context, microbatch, dy, stash);
    if (dx.defined()) recorder_.add(context, "gradient of the output of " + name_before_, Rows::kTokens, microbatch, dx);
    return dx;
  }

  void backward_weight(Context& context, std::any& stash) override {
    inner_->backward_weight(context, stash);
    recorder_.add_share(context, name_, microbatch_of_.at(&stash));
    microbatch_of_.erase(&stash);
  }

 private:
  StepRecorder& recorder_;
  std::unique_ptr<StageBlock> inner_;
  std::string name_, name_before_;
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
    recorder_.add_heads(context, "queries of ", q);
    recorder_.add_heads(context, "keys of ", k);
    recorder_.add_heads(context, "values of ", v);
    Tensor output = inner_->forward(context, q, k, v, tiles, stash);
    recorder_.add_heads(context, "attention of ", output);
    return output;
  }
  QkvGradient do_backward(Context& context, const Tensor& doutput, const TileMap& tiles, AttentionStash& stash) const override {
    // Exchanged heads are not kept by token.
    if (stash.q.defined()) {
      recorder_.add_heads(context, "queries of ", stash.q);
      recorder_.add_heads(context, "keys of ", stash.k);
      recorder_.add_heads(context, "values of ", stash.v);
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
  for (const auto& p : decoder.parameters().all()) {
    record_.parameters.push_back({p->name, p->shape, flat_begin(decoder.parameters(), *p)});
  }
  before_.assign(static_cast<size_t>(decoder.parameters().gradients().num_elements()), 0);
  Stage& stage = decoder.stage();
  for (size_t i = 0; i < stage.size(); ++i) {
    stage[i] = std::make_unique<WatchedBlock>(*this, std::move(stage[i]), i, stage.size());
  }
}

void StepRecorder::on_gradients(const Context& context, int64_t, const ParameterSet& parameters) {
  record_.gradients = doubles(context, parameters.gradients());
}

void StepRecorder::on_step(const StepReport& report) { record_.loss = report.loss; }

void StepRecorder::add(const Context& context, std::string name, Rows rows, int microbatch, const Tensor& tensor) {
  const int64_t width = tensor.rank() < 2 ? 1 : tensor.size(1);
  record_.tensors.push_back(
      {std::move(name), rows, microbatch, ring_rank_, kOrders * ++order_, width, 0, doubles(context, tensor)});
}

void StepRecorder::add_inputs(const Context& context, int microbatch) {
  const Microbatch& batch = decoder_->microbatches().at(static_cast<size_t>(microbatch));
  add(context, "tokens", Rows::kTokens, microbatch, batch.tokens);
  add(context, "targets", Rows::kTokens, microbatch, batch.targets);
  add(context, "rotary cosines", Rows::kTokens, microbatch, batch.shard.rotary.cosine);
  add(context, "rotary sines", Rows::kTokens, microbatch, batch.shard.rotary.sine);
  record_.tensors.push_back({"scale of the gradients",
                             Rows::kNone,
                             microbatch,
                             ring_rank_,
                             kOrders * ++order_,
                             1,
                             0,
                             {batch.gradient_scale}});
}

// What the gradients have grown by since the last share.
void StepRecorder::add_share(const Context& context, const std::string& block, int microbatch) {
  std::vector<double> now = doubles(context, decoder_->parameters().gradients());
  size_t begin = 0, end = now.size();
  while (begin < end && now[begin] == before_[begin]) ++begin;
  while (begin < end && now[end - 1] == before_[end - 1]) --end;
  std::vector<double> share(end - begin);
  for (size_t i = begin; i < end; ++i) share[i - begin] = now[i] - before_[i];
  before_ = std::move(now);
  record_.tensors.push_back({"parameter gradients of " + block, Rows::kParameters, microbatch, ring_rank_,
                             kOrders * ++order_, 1, static_cast<int64_t>(begin), std::move(share)});
}

void StepRecorder::add_heads(const Context& context, const char* what, const Tensor& heads) {
  add(context, what + pass_.of, Rows::kTokens, pass_.microbatch, heads.reshape({heads.size(0), heads.size(1) * heads.size(2)}));
}

// Keys that a scheme puts together from several ranks' have no one owner; what comes of them is compared.
void StepRecorder::add_hop(const Context& context, const AttentionBlock& block) {
  const TileMap& tiles = decoder_->microbatches().at(static_cast<size_t>(pass_.microbatch)).shard.tiles;
  int owner = 0;
  while (owner < tiles.num_ranks() && &tiles.keys_of(owner) != block.visible) ++owner;
  if (owner == tiles.num_ranks() || owner == ring_rank_) return;
  const int hop = (ring_rank_ - owner + tiles.num_ranks()) % tiles.num_ranks();
  int64_t order = kOrders * order_ + 2 * hop;
  const auto add_one = [&](const char* what, const Tensor& tensor) {
    const int64_t width = tensor.size(1) * tensor.size(2);
    record_.tensors.push_back(
        {what + pass_.of, Rows::kTokens, pass_.microbatch, owner, ++order, width, 0, doubles(context, tensor)});
  };
  add_one("keys of ", block.k);
  add_one("values of ", block.v);
}

}  // namespace longspan
