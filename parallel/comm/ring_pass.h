// Passing tensors round a ring of P ranks, rank r sending to r + 1, with the transfer under way while the caller computes.
#pragma once

#include <functional>
#include <iterator>
#include <vector>

#include "core/runtime/context.h"
#include "parallel/comm/communicator.h"

namespace longspan {

// In a trace, what a pass moves is called thus, with the hop that it brings; a travelling sum's, with the hop whose
// contribution leaves.
constexpr const char* kRingTransfer = "ring transfer";
constexpr const char* kGradientTransfer = "gradient transfer";

struct RingHop {
  int index = 0;                // 0 .. P-1
  int owner = 0;                // whose tensors these are: (rank - index) mod P
  std::vector<Tensor> tensors;  // hop 0: this rank's own; who keeps one longer, keeps its memory
};

// A range over P hops. Before hop i is handed out, the transfer that brings hop i + 1 has been posted (P - 1 transfers in
// all), and while the range lives the context's progress hook moves it along. Use:
//   RingPass ring(context, communicator, {k, v}, shapes_of);
//   for (const RingHop& hop : ring) { ... }
// One range over a RingPass, to its end: only an exception leaves it early. At most two sets of received tensors exist at
// a time, unless the caller keeps some. The communicator carries nothing else meanwhile, but for a TravellingSum that is fed
// once a hop.
class RingPass {
 public:
  // shapes_of(owner): the shapes of that rank's tensors, known on every rank; shards may be uneven or empty.
  RingPass(Context& context, Communicator& communicator, std::vector<Tensor> own,
           std::function<std::vector<Shape>(int owner)> shapes_of);
  ~RingPass();

  class Iterator {
   public:
    explicit Iterator(RingPass* ring) : ring_(ring) {}
    const RingHop& operator*() const { return ring_->hop_; }
    Iterator& operator++() {
      ring_->advance();
      return *this;
    }
    bool operator!=(std::default_sentinel_t) const { return ring_->hop_.index < ring_->communicator_.size(); }

   private:
    RingPass* ring_;
  };
  Iterator begin() { return Iterator(this); }
  std::default_sentinel_t end() const { return {}; }

 private:
  void post();     // the transfer that brings the hop after hop_
  void advance();  // waits for it and makes it hop_

  Context& context_;
  Communicator& communicator_;
  std::function<std::vector<Shape>(int)> shapes_of_;
  RingHop hop_;
  std::vector<Tensor> incoming_;
  std::vector<Work> works_;
  Context::ProgressGuard progress_;
};

// Sums on their way home, as of gradients: they travel the same ring one hop behind the tensors they belong to. At hop i this
// rank adds its contribution for owner (rank - i) mod P to what arrived for that owner and sends the sum on; after the last hop
// each sum is home (P transfers in all; none for P = 1). A sum travels while the caller computes its next contribution.
// Sums that follow no tensors begin a hop later, with that of rank - 1, and end with this rank's own: P - 1 transfers.
class TravellingSum {
 public:
  enum class Begin { kWithOwn, kWithPrevious };
  using Accumulate = std::function<void(const Tensor& from, const Tensor& into)>;
  TravellingSum(Context& context, Communicator& communicator,
                std::function<std::vector<Shape>(int owner)> shapes_of, Accumulate accumulate, Begin begin = Begin::kWithOwn);
  // For whom the next contribution is.
  int next_owner() const;
  // Once per hop, in order. Takes the tensors, of any dtype that `accumulate` adds, the same in each hop; they must not be
  // used afterwards.
  void add(std::vector<Tensor> contribution);
  // After the P-th add: the sums of all ranks' contributions for this rank's own tensors.
  std::vector<Tensor> finish();

 private:
  void add_arrived(const std::vector<Tensor>& contribution, const TraceArgs& args);
  bool at_home() const { return hop_ > communicator_.size() || communicator_.size() == 1; }  // no transfer is left

  Context& context_;
  Communicator& communicator_;
  std::function<std::vector<Shape>(int)> shapes_of_;
  Accumulate accumulate_;
  int first_hop_, hop_;
  std::vector<Tensor> sending_, arriving_;
  std::vector<Work> works_;
};

}  // namespace longspan
