// What the tests of communicators share: filled tensors, and assertions on the order of what a rank did.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "core/runtime/context.h"
#include "parallel/comm/backends.h"

namespace longspan::test {

inline Context make_context() { return Context({}); }

template <class T>
Tensor filled(const Context& context, const Shape& shape, const std::function<double(int64_t)>& value) {
  Tensor tensor = context.empty(shape, dtype_of<T>());
  for (int64_t i = 0; i < tensor.num_elements(); ++i) tensor.data<T>()[i] = static_cast<T>(value(i));
  return tensor;
}

template <class T>
void expect_values(const Tensor& tensor, const std::function<double(int64_t)>& value, const std::string& what) {
  const T* data = tensor.data<T>();
  for (int64_t i = 0; i < tensor.num_elements(); ++i) {
    ASSERT_EQ(data[i], static_cast<T>(value(i))) << what << ", element " << i;
  }
}

// Runs `body` and returns the message of the E it throws; fails if it throws none.
template <class E>
std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing of the expected type was thrown";
  return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline std::string compute_mark(int hop) { return "compute " + std::to_string(hop); }

// Whether the records of a ring of `num_ranks`, with one tensor a hop and mark "compute i" where hop i is computed, show
// the transfer of every hop i + 1 posted before compute i and waited for after it. Empty if so, else what is wrong.
inline std::string overlap_error(const std::vector<CommRecord>& records, int num_ranks) {
  using Kind = CommRecord::Kind;
  int num_posted = 0, num_waited = 0, num_computed = 0;
  for (const CommRecord& record : records) {
    if (record.kind == Kind::kSendRecvPosted) ++num_posted;
    if (record.kind == Kind::kSendRecvWaited) ++num_waited;
    if (record.kind != Kind::kMark) continue;
    if (record.what != compute_mark(num_computed)) return "unexpected mark " + record.what;
    const int next = std::min(num_computed + 1, num_ranks - 1);
    if (num_posted != next) return record.what + " began with " + std::to_string(num_posted) + " transfers posted";
    if (num_waited != num_computed) return record.what + " began with " + std::to_string(num_waited) + " waited for";
    ++num_computed;
  }
  if (num_computed != num_ranks) return std::to_string(num_computed) + " hops were computed";
  if (num_waited != num_ranks - 1) return std::to_string(num_waited) + " transfers were waited for";
  return "";
}

// Counts what a context's progress hook asks of a communicator.
class ProgressCounter final : public Communicator {
 public:
  explicit ProgressCounter(Communicator& inner)
      : Communicator(inner.rank(), inner.size(), "counter", inner.timeout()), inner_(inner) {}
  int num_calls = 0;

 private:
  void do_all_reduce(Stream&, const Tensor&, ReduceOp) override {}
  void do_broadcast(Stream&, const Tensor&, int) override {}
  void do_all_gather(Stream&, const Tensor&, const Tensor&) override {}
  void do_barrier(Stream&) override {}
  Work do_send_recv(Stream& stream, const SendRecv& message) override { return inner_.send_recv(stream, message); }
  std::unique_ptr<Communicator> do_split(int, int, const std::string&) override { return nullptr; }
  void do_progress() override { ++num_calls; }

  Communicator& inner_;
};

}  // namespace longspan::test
