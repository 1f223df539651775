// PipelineLink: the messages between ranks that hold neighbouring blocks.
//
// Ranks are neighbours in a ring, the last one and the first among them. Each pair has a group of its own for
// each direction: messages of one direction keep their order whatever goes the other way, and on a device,
// where a group does one thing after the other, a receive that was posted early holds up nothing but what
// comes after it from the same rank. A send is done when the receiver has posted its receive, at the soonest.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "core/runtime/context.h"
#include "parallel/comm/communicator.h"

namespace longspan {

class PipelineLink {
 public:
  // Collective over the pipeline axis, which must outlive the link.
  explicit PipelineLink(Communicator& pipeline);

  int rank() const { return rank_; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  // On a device a group's first message meets the peer before it is under way (NCCL connects then), so that a receive would wait
  // that schedules post early. Here the first messages of all groups pass, both ways. Collective over the axis; does nothing the
  // second time, nor on a host.
  void connect(const Context& context);
  [[nodiscard]] Work send(Stream& stream, const Tensor& tensor, int to);
  [[nodiscard]] Work receive(Stream& stream, const Tensor& tensor, int from);
  void progress();

 private:
  struct Neighbour {
    int rank = 0;
    std::unique_ptr<Communicator> sending, receiving;  // groups of two
  };
  Neighbour& neighbour(int rank);

  int rank_;
  std::chrono::milliseconds timeout_;
  bool connected_ = false;
  // Those of the even edges first on all ranks, so that connect() waits for nobody in a circle.
  std::vector<Neighbour> neighbours_;
};

}  // namespace longspan
