#include "train/shared_stage.h"

namespace longspan {

// One block of the stage. Forwards that keep nothing, as evaluations do, add to no gradients.
class SharedBlock final : public StageBlock {
 public:
  struct Place {
    int number = 0;        // of the model's blocks
    bool is_last = false;  // of the model: the gradients of the head come with its loss, in forward
  };
  SharedBlock(SharedStage& stage, std::unique_ptr<StageBlock> inner, const Place& place)
      : stage_(stage), inner_(std::move(inner)), place_(place) {}
  int layer() const override { return inner_->layer(); }

  Tensor forward(Context& context, int microbatch, const Tensor& x, std::any* stash) override {
    stage_.use(context, place_.number);
    if (stash && place_.is_last) stage_.open_gradients(context, place_.number);
    Tensor y = inner_->forward(context, microbatch, x, stash);
    stage_.after_compute();
    return y;
  }
  Tensor backward_input(Context& context, int microbatch, const Tensor& dy, std::any& stash) override {
    stage_.use(context, place_.number);
    Tensor dx = inner_->backward_input(context, microbatch, dy, stash);
    stage_.after_compute();
    return dx;
  }
  void backward_weight(Context& context, std::any& stash) override {
    stage_.open_gradients(context, place_.number);
    inner_->backward_weight(context, stash);
    stage_.after_compute();
  }

 private:
  SharedStage& stage_;
  std::unique_ptr<StageBlock> inner_;
  Place place_;
};

SharedStage::SharedStage(const ProcessMesh& mesh, const std::vector<int>& blocks, Decoder& decoder, const StateShare& share)
    : parameters_(decoder.parameters()) {
  if (!share.of_gradients()) return;
  if (share.of_weights()) group_ = mesh.replicas().split(0, mesh.replicas().rank(), "weights");
  Stage& stage = decoder.stage();
  for (size_t b = 0; b < stage.size(); ++b) {
    const SharedBlock::Place place = {.number = blocks[b], .is_last = b + 1 == stage.size() && decoder.has_head()};
    stage[b] = std::make_unique<SharedBlock>(*this, std::move(stage[b]), place);
  }
}

void SharedStage::begin(const Program& program) {
  uses_.clear();
  at_ = 0;
  for (const Action& action : program) {
    if (action.kind != Action::Kind::kForward && action.kind != Action::Kind::kBackwardInput) continue;
    if (uses_.empty() || uses_.back() != action.block) uses_.push_back(action.block);
  }
}

void SharedStage::end() {
  if (weights_) weights_->close();
  weights_.reset();
}

void SharedStage::open_gradients(const Context& context, int block) {
  for (const size_t bucket : parameters_.buckets_read_by(block)) {
    parameters_.open_gradients(context, parameters_.buckets()[bucket]);
  }
}

void SharedStage::use(Context& context, int block) {
  if (!group_) return;
  if (uses_.at(at_) != block) ++at_;
  check(uses_.at(at_) == block, "block {} runs where the program has block {}", block, uses_[at_]);
  if (!weights_) weights_ = std::make_unique<GatheredWeights>(context, *group_, parameters_);
  weights_->use(block, at_ + 1 < uses_.size() ? uses_[at_ + 1] : -1);
}

}  // namespace longspan
