// RingReduction: sums over the ranks of a group that move while the caller computes (ring reduce-scatter and all-gather:
// Patarasuk and Yuan 2009). Gradients of a part of the model are summed while those of the parts before it are still computed.
//
// A tensor of n elements over R ranks is cut into R pieces. In R - 1 hops each piece travels once round the ring and grows by
// what each rank has, so that rank r ends with the sum of piece r; in R - 1 more, all ranks get all pieces. Bytes sent by each
// rank: (R - 1) / R of the tensor for its own piece, twice that for all of it. A piece is summed in the order r + 1, r + 2, ...
// r, on one rank, so all ranks end with the same bits, and the same sums repeat to the bit.
//
// Gathering is the second half alone: each rank has its piece, and all get all.
//
// Hops follow each other in the context's progress hook, which kernels call, in after_compute() and where finish() or
// start_into() waits; these raise CommError when a peer fails.
#pragma once

#include <deque>
#include <exception>
#include <optional>

#include "core/runtime/context.h"
#include "parallel/comm/communicator.h"

namespace longspan {

// In a trace.
inline constexpr const char* kReductionTransfer = "gradient reduction";
inline constexpr const char* kGatherTransfer = "weight gather";

struct Piece {
  int64_t begin = 0, end = 0;
};
// Of n elements, those of one rank: as even as they go.
Piece piece_of(int64_t n, int rank, int num_ranks);

class RingReduction {
 public:
  enum class Result {
    kAll,       // every rank gets all sums
    kOwnPiece,  // rank r gets those of piece r; what is in the others is void
    kGathered,  // nothing is summed: every rank gets piece r of rank r
  };
  RingReduction(Context& context, Communicator& group, Result result);

  // Sums `data` [n], of the accumulator, in place: it belongs to the reduction until finish(). Every rank starts the same tensors
  // in the same order. The group carries nothing else meanwhile.
  void start(Tensor data);
  // With kOwnPiece: adds the sums of this rank's piece to `into`, and lets go of `data` then. Returns when at most kMostTaken
  // such tensors are left, so that memory is bounded; all ranks wait here for the same ones.
  void start_into(Tensor data, Tensor into);
  static constexpr size_t kMostTaken = 2;
  // Between two pieces of the caller's compute, of which each hides a hop. On a device the host waits for the compute, which is
  // this rank's own and may take as long as it takes: else the host would run ahead of everything that arrives, and the next hop
  // would wait for the end of all compute.
  void after_compute();
  // After the last start: returns when all sums are there.
  void finish();
  // Returns when those of a tensor that was started, and of all before it, are.
  void finish(const Tensor& data);
  // Whether anything is, that the context's progress moves.
  bool under_way() const { return !waiting_.empty() && !failure_; }

 private:
  struct Sum {
    Tensor data, into;
  };
  void add(Sum sum);
  int first_hop() const { return result_ == Result::kGathered ? group_.size() - 1 : 0; }
  int end_hop() const { return (result_ == Result::kOwnPiece ? 1 : 2) * (group_.size() - 1); }
  Tensor piece(int owner) const;
  void post();                // the next hop of the first tensor
  void take_arrived();        // what it has brought
  void advance(size_t left);  // waits until no more tensors are
  void advance_arrived();
  void look() noexcept;

  Context& context_;
  Communicator& group_;
  Result result_;
  std::deque<Sum> waiting_;  // the first is under way
  int hop_ = 0;
  Tensor arriving_;
  std::optional<Work> work_;
  bool busy_ = false;            // a kernel that we call may call the hook
  std::exception_ptr failure_;  // in the hook, which must not raise
  std::optional<Context::ProgressGuard> progress_;  // from a first start to finish(): kernels cut their work for it
};

}  // namespace longspan
