// Talk between two ranks in which nobody waits for ever: every exchange has a deadline, after which the partner is
// named.
//
// Both ranks of an exchange call it, each sends and receives once, and calls between two ranks match in their order.
// Raises CommError when the partner does not answer in time; what was under way is then given up, and the run is to
// end.
#pragma once

#include <string>
#include <vector>

#include "core/runtime/context.h"
#include "parallel/comm/communicator.h"

namespace longspan::doctor {

// A rank that waits long leaves the core to those that measure.
enum class Waiting { kBusy, kNapping };

class Dialogue {
 public:
  explicit Dialogue(Communicator& world) : world_(world), context_(Context::Options{}) {}

  int rank() const { return world_.rank(); }
  int size() const { return world_.size(); }

  Tensor bytes(int64_t count);
  Work post(const Tensor& send, int to, const Tensor& receive, int from);
  // Completes `work`, whose partner is named if it does not answer.
  void finish(Work& work, int partner, double seconds, Waiting waiting);

  // Numbers both ways, as many as are sent.
  std::vector<double> exchange(int partner, const std::vector<double>& mine, double seconds,
                               Waiting waiting = Waiting::kBusy);

  // Collective: rank 0 gets the text of every rank, empty for those that were silent, whose numbers it adds to
  // `silent`. It waits for all of them together for `seconds`.
  std::vector<std::string> gather(const std::string& mine, double seconds, std::vector<int>& silent);

 private:
  std::string receive_text(int from, double seconds);
  void send_text(const std::string& text, double seconds);

  Communicator& world_;
  Context context_;
};

}  // namespace longspan::doctor
